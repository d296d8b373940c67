//! One run: everything is started, the load begins, changes come when they are due, and everything
//! ends with what was measured.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    Args, Output,
    balance::Spread,
    caller::Agent,
    child::{self, Player},
    live::Live,
    message::{BackEndSetup, CallerSetup, News, Order},
    scene::{AT_START, Arm, CALLERS_PER_ZONE, Change, DEADLINE, DRAIN, RATE, Run, SERVICE, ZONES},
    services::Services,
    summary::{AgentCost, Summary},
    tally::Tally,
    usage::{Machine, cpu_seconds, resident_mib},
};
use crate::clock;

/// How long children may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);

const CALLERS: usize = ZONES.len() * CALLERS_PER_ZONE;

/// Runs the demo; whether its bounds are met. All of its processes have ended then.
pub(crate) async fn perform(args: &Args) -> io::Result<bool> {
    let folder = Folder::new()?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let summary = tokio::select! {
        summary = play(args, &folder.0) => summary?,
        _ = interrupted.recv() => return Err(io::Error::other("interrupted")),
        _ = terminated.recv() => return Err(io::Error::other("terminated")),
    };
    match args.output {
        Output::Table => print!("{}", summary.text()),
        Output::Json => println!("{:#}", summary.json()),
    }
    Ok(summary.met())
}

async fn play(args: &Args, folder: &Path) -> io::Result<Summary> {
    let run = args.run();
    let (mut stage, addresses) = Stage::back_ends(run).await?;
    let mut services = Services::new(folder, args.random, addresses[Arm::Pick as usize].clone());
    services.write(&stage.members)?;
    let agents = Agents::start(folder, services.path()).await?;
    stage.callers(run, folder, &addresses).await?;
    let mut live = (args.output == Output::Table).then(Live::new);
    if live.is_some() {
        println!("{}", introduction());
    }
    stage.order_all(&Order::Members(stage.members.clone())).await?;

    let (used, machine) = (agents.cpu(), Machine::now().unwrap_or_default());
    let begin = clock::now();
    stage.order_all(&Order::Begin).await?;
    let mut due = timetable(run);
    due.reverse();
    while let Some((at, what)) = due.pop() {
        stage.listen_until(begin + at).await?;
        match what {
            Due::Change(change) => {
                stage.change(change, &mut services).await?;
                live.as_mut().map_or(Ok(()), |live| live.change(at, change))?;
            }
            Due::Close(back_end) => stage.order_back_ends(&Order::Close(back_end)).await?,
            Due::Second => {
                let tally = &mut stage.tally;
                live.as_mut().map_or(Ok(()), |live| live.second(at, run.length, tally))?;
                tally.next_second();
            }
        }
    }
    let agents = agents.cost(used);
    let busy = Machine::now().unwrap_or_default().busy_since(machine);
    stage.finish().await?;
    Ok(Summary { run, tally: stage.tally, agents, busy, connections: CALLERS })
}

/// What the demo does when.
enum Due {
    Change(Change),
    /// A removed back-end has drained.
    Close(usize),
    Second,
}

fn timetable(run: Run) -> Vec<(Duration, Due)> {
    let mut due = Vec::new();
    for (at, change) in run.changes() {
        if let Change::Remove(it) = change {
            due.push((at + DRAIN, Due::Close(it)));
        }
        due.push((at, Due::Change(change)));
    }
    due.extend((1..=run.length.as_secs()).map(|at| (Duration::from_secs(at), Due::Second)));
    due.sort_by_key(|(at, _)| *at);
    due
}

fn introduction() -> String {
    format!(
        "{} zones of {} back-ends, {} callers, {RATE} requests/s three times over: through one \
         connection\nper caller, by a pick per request, and at random per request.\n",
        ZONES.len(),
        AT_START / ZONES.len(),
        CALLERS,
    )
}

/// All children but the agents: the back-ends of each arm, then the callers.
struct Stage {
    players: Vec<Player>,
    news: mpsc::UnboundedReceiver<(usize, Option<News>)>,
    to_stage: mpsc::UnboundedSender<(usize, Option<News>)>,
    members: Vec<usize>,
    tally: Tally,
    /// Callers that have told everything.
    over: usize,
    /// What the back-ends of an arm measured.
    measured: [Option<Spread>; Arm::ALL.len()],
}

type Addresses = [Vec<SocketAddr>; Arm::ALL.len()];

impl Stage {
    async fn back_ends(run: Run) -> io::Result<(Self, Addresses)> {
        let (to_stage, news) = mpsc::unbounded_channel();
        let mut stage = Self {
            players: Vec::new(),
            news,
            to_stage,
            members: (0..AT_START).collect(),
            tally: Tally::new(),
            over: 0,
            measured: Default::default(),
        };
        for arm in 0..Arm::ALL.len() {
            let news = stage.to_stage.clone();
            let player = Player::start("back-ends", &BackEndSetup { run }, arm, news).await?;
            stage.players.push(player);
        }
        let mut addresses = Addresses::default();
        while addresses.iter().any(Vec::is_empty) {
            match timeout(PATIENCE, stage.news.recv()).await {
                Ok(Some((arm, Some(News::Listening(at))))) => addresses[arm] = at,
                Ok(Some((arm, Some(News::Gauge(_))))) if arm < addresses.len() => {}
                other => return Err(io::Error::other(format!("back-ends: {other:?}"))),
            }
        }
        Ok((stage, addresses))
    }

    async fn callers(&mut self, run: Run, folder: &Path, to: &Addresses) -> io::Result<()> {
        for number in 0..CALLERS {
            let setup = CallerSetup {
                run,
                number,
                rate: RATE / CALLERS as f64,
                agent: socket(folder, number / CALLERS_PER_ZONE),
                addresses: to.clone(),
            };
            let player = self.players.len();
            let player = Player::start("caller", &setup, player, self.to_stage.clone()).await?;
            self.players.push(player);
        }
        Ok(())
    }

    async fn order_all(&mut self, order: &Order) -> io::Result<()> {
        for player in &mut self.players {
            player.order(order).await?;
        }
        Ok(())
    }

    async fn order_back_ends(&mut self, order: &Order) -> io::Result<()> {
        for player in &mut self.players[..Arm::ALL.len()] {
            player.order(order).await?;
        }
        Ok(())
    }

    async fn change(&mut self, change: Change, services: &mut Services) -> io::Result<()> {
        let before = self.members.clone();
        change.apply(&mut self.members);
        self.order_back_ends(&Order::Change(change)).await?;
        if before != self.members {
            services.write(&self.members)?;
            self.order_all(&Order::Members(self.members.clone())).await?;
        }
        Ok(())
    }

    /// Takes the news until this time.
    async fn listen_until(&mut self, until: Duration) -> io::Result<()> {
        let reached = sleep(until.saturating_sub(clock::now()));
        tokio::pin!(reached);
        loop {
            tokio::select! {
                () = &mut reached => return Ok(()),
                Some((player, news)) = self.news.recv() => self.hear(player, news)?,
            }
        }
    }

    /// After the last arrival: the back-ends close their books, the callers wait for what is open.
    async fn finish(&mut self) -> io::Result<()> {
        self.order_back_ends(&Order::Finish).await?;
        let until = clock::now() + DEADLINE + PATIENCE;
        while self.over < CALLERS || self.measured.iter().any(Option::is_none) {
            let left = until.saturating_sub(clock::now());
            match timeout(left, self.news.recv()).await {
                Ok(Some((player, news))) => self.hear(player, news)?,
                _ => return Err(io::Error::other("children that don't end")),
            }
        }
        for (arm, measured) in self.tally.whole.iter_mut().zip(&mut self.measured) {
            arm.spread = measured.take().unwrap_or_default();
        }
        Ok(())
    }

    fn hear(&mut self, player: usize, news: Option<News>) -> io::Result<()> {
        match (news, player.checked_sub(Arm::ALL.len())) {
            (Some(News::Requests { ended, late }), Some(caller)) => {
                self.tally.add(caller, &ended, &late);
            }
            (Some(News::Over), Some(_)) => self.over += 1,
            (Some(News::Gauge(spread)), None) => self.tally.gauge(player, spread),
            (Some(News::Measured(spread)), None) => self.measured[player] = Some(spread),
            // Having told everything it may go.
            (None, Some(_)) if self.over > 0 => {}
            (news, _) => return Err(io::Error::other(format!("child {player}: {news:?}"))),
        }
        Ok(())
    }
}

/// The agents, one per zone.
struct Agents(Vec<Child>);

impl Agents {
    /// Starts them and waits until each answers.
    async fn start(folder: &Path, services: &Path) -> io::Result<Self> {
        let mut agents = Vec::new();
        for (zone, name) in ZONES.iter().enumerate() {
            let log = folder.join(format!("agent-{name}.log"));
            agents.push((child::agent(services, &socket(folder, zone), name, &log)?, log));
        }
        for (zone, (agent, log)) in agents.iter_mut().enumerate() {
            let until = clock::now() + PATIENCE;
            while let Err(error) = Agent::at(socket(folder, zone)).pick(SERVICE).await {
                let ended = agent.try_wait()?;
                if ended.is_some() || clock::now() > until {
                    let said = fs::read_to_string(log)?;
                    return Err(io::Error::other(format!("agent of zone {zone}: {error}\n{said}")));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Self(agents.into_iter().map(|(agent, _)| agent).collect()))
    }

    /// Processor seconds of all until now.
    fn cpu(&self) -> f64 {
        self.0.iter().filter_map(|agent| cpu_seconds(agent.id()?)).sum()
    }

    fn cost(&self, used: f64) -> AgentCost {
        let resident = self.0.iter().filter_map(|agent| resident_mib(agent.id()?));
        AgentCost {
            number: self.0.len(),
            cpu: self.cpu() - used,
            resident_mib: resident.fold(0.0, f64::max),
        }
    }
}

fn socket(folder: &Path, zone: usize) -> PathBuf {
    // Each in a folder of its own, as each node has: other sockets stand beside it.
    folder.join(ZONES[zone]).join("agent.sock")
}

/// A folder of this run's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("pointsman-demo-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        for zone in ZONES {
            fs::create_dir_all(folder.0.join(zone))?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left in the folder for temporary files.
        _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_back_end_closes_after_it_left_the_service() {
        let run = Run { length: Duration::from_secs(20), seed: 1 };
        let due = timetable(run);
        let at = |find: fn(&Due) -> bool| due.iter().find(|(_, due)| find(due)).unwrap().0;
        let removed = at(|due| matches!(due, Due::Change(Change::Remove(_))));
        assert_eq!(at(|due| matches!(due, Due::Close(_))), removed + DRAIN);
        assert_eq!(due.iter().filter(|(_, due)| matches!(due, Due::Second)).count(), 20);
    }
}
