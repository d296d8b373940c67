//! One run: starts all processes and the load, makes each change when it is due, and collects what was
//! measured.

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
    args::{Args, Output},
    caller::AgentClient,
    child_process::{self, ChildProcess},
    in_flight::InFlightStats,
    message::{BackEndSetup, CallerSetup, ChildMessage, ParentMessage},
    process_usage::{ProcessorTicks, cpu_seconds, resident_mib},
    progress::Progress,
    scenario::{
        AT_START, Arm, CALLERS_PER_ZONE, Change, DEADLINE, DRAIN, RATE, RunConfig, SERVICE, ZONES,
    },
    services::ServicesFile,
    summary::{AgentCost, Summary},
    tally::Tally,
};
use crate::clock;

/// How long children may take to start or to end.
const TIMEOUT: Duration = Duration::from_secs(10);

const CALLERS: usize = ZONES.len() * CALLERS_PER_ZONE;

/// Runs the demo. Returns whether its bounds are met. All its processes have ended then.
pub(crate) async fn run(args: &Args) -> io::Result<bool> {
    let folder = Folder::new()?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let summary = tokio::select! {
        summary = compare(args, &folder.0) => summary?,
        _ = interrupted.recv() => return Err(io::Error::other("interrupted")),
        _ = terminated.recv() => return Err(io::Error::other("terminated")),
    };
    match args.output {
        Output::Table => print!("{}", summary.text()),
        Output::Json => println!("{:#}", summary.json()),
    }
    Ok(summary.met())
}

async fn compare(args: &Args, folder: &Path) -> io::Result<Summary> {
    let run = args.run_config();
    let (mut orchestrator, addresses) = Orchestrator::back_ends(run).await?;
    let mut services =
        ServicesFile::new(folder, args.random, addresses[Arm::Pick as usize].clone());
    services.write(&orchestrator.members)?;
    let agents = Agents::start(folder, services.path()).await?;
    orchestrator.callers(run, folder, &addresses).await?;
    let mut progress = (args.output == Output::Table).then(Progress::new);
    if progress.is_some() {
        println!("{}", introduction());
    }
    orchestrator.send_to_all(&ParentMessage::Members(orchestrator.members.clone())).await?;

    let (used, machine) = (agents.cpu(), ProcessorTicks::now().unwrap_or_default());
    let begin = clock::now();
    orchestrator.send_to_all(&ParentMessage::Begin).await?;
    let mut due = timetable(run);
    due.reverse();
    while let Some((at, what)) = due.pop() {
        orchestrator.handle_until(begin + at).await?;
        match what {
            Step::Change(change) => {
                orchestrator.change(change, &mut services).await?;
                progress.as_mut().map_or(Ok(()), |progress| progress.change(at, change))?;
            }
            Step::Close(back_end) => {
                orchestrator.send_to_back_ends(&ParentMessage::Close(back_end)).await?
            }
            Step::Second => {
                let tally = &mut orchestrator.tally;
                progress
                    .as_mut()
                    .map_or(Ok(()), |progress| progress.show_second(at, run.length, tally))?;
                tally.next_second();
            }
        }
    }
    let agents = agents.cost(used);
    let busy = ProcessorTicks::now().unwrap_or_default().busy_since(machine);
    orchestrator.finish().await?;
    Ok(Summary { run, tally: orchestrator.tally, agents, busy, connections: CALLERS })
}

/// A step of the demo.
enum Step {
    Change(Change),
    /// A removed back-end has drained.
    Close(usize),
    Second,
}

fn timetable(run: RunConfig) -> Vec<(Duration, Step)> {
    let mut due = Vec::new();
    for (at, change) in run.changes() {
        if let Change::Remove(it) = change {
            due.push((at + DRAIN, Step::Close(it)));
        }
        due.push((at, Step::Change(change)));
    }
    due.extend((1..=run.length.as_secs()).map(|at| (Duration::from_secs(at), Step::Second)));
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

/// All children except the agents: the back-ends of each arm, then the callers.
struct Orchestrator {
    children: Vec<ChildProcess>,
    messages: mpsc::UnboundedReceiver<(usize, Option<ChildMessage>)>,
    sender: mpsc::UnboundedSender<(usize, Option<ChildMessage>)>,
    members: Vec<usize>,
    tally: Tally,
    /// How many callers have sent all their results.
    finished_callers: usize,
    /// What the back-ends of an arm measured.
    measured: [Option<InFlightStats>; Arm::ALL.len()],
}

type Addresses = [Vec<SocketAddr>; Arm::ALL.len()];

impl Orchestrator {
    async fn back_ends(run: RunConfig) -> io::Result<(Self, Addresses)> {
        let (sender, messages) = mpsc::unbounded_channel();
        let mut orchestrator = Self {
            children: Vec::new(),
            messages,
            sender,
            members: (0..AT_START).collect(),
            tally: Tally::new(),
            finished_callers: 0,
            measured: Default::default(),
        };
        for arm in 0..Arm::ALL.len() {
            let messages = orchestrator.sender.clone();
            let child =
                ChildProcess::start("back-ends", &BackEndSetup { run }, arm, messages).await?;
            orchestrator.children.push(child);
        }
        let mut addresses = Addresses::default();
        while addresses.iter().any(Vec::is_empty) {
            match timeout(TIMEOUT, orchestrator.messages.recv()).await {
                Ok(Some((arm, Some(ChildMessage::Listening(at))))) => addresses[arm] = at,
                Ok(Some((arm, Some(ChildMessage::Gauge(_))))) if arm < addresses.len() => {}
                other => return Err(io::Error::other(format!("back-ends: {other:?}"))),
            }
        }
        Ok((orchestrator, addresses))
    }

    async fn callers(&mut self, run: RunConfig, folder: &Path, to: &Addresses) -> io::Result<()> {
        for number in 0..CALLERS {
            let setup = CallerSetup {
                run,
                number,
                rate: RATE / CALLERS as f64,
                agent: socket(folder, number / CALLERS_PER_ZONE),
                addresses: to.clone(),
            };
            let child = self.children.len();
            let child = ChildProcess::start("caller", &setup, child, self.sender.clone()).await?;
            self.children.push(child);
        }
        Ok(())
    }

    async fn send_to_all(&mut self, message: &ParentMessage) -> io::Result<()> {
        for child in &mut self.children {
            child.send(message).await?;
        }
        Ok(())
    }

    async fn send_to_back_ends(&mut self, message: &ParentMessage) -> io::Result<()> {
        for child in &mut self.children[..Arm::ALL.len()] {
            child.send(message).await?;
        }
        Ok(())
    }

    async fn change(&mut self, change: Change, services: &mut ServicesFile) -> io::Result<()> {
        let before = self.members.clone();
        change.apply(&mut self.members);
        self.send_to_back_ends(&ParentMessage::Change(change)).await?;
        if before != self.members {
            services.write(&self.members)?;
            self.send_to_all(&ParentMessage::Members(self.members.clone())).await?;
        }
        Ok(())
    }

    /// Handles messages until this time.
    async fn handle_until(&mut self, until: Duration) -> io::Result<()> {
        let reached = sleep(until.saturating_sub(clock::now()));
        tokio::pin!(reached);
        loop {
            tokio::select! {
                () = &mut reached => return Ok(()),
                Some((child, messages)) = self.messages.recv() => self.handle(child, messages)?,
            }
        }
    }

    /// After the last arrival: collects the results of the back-ends, and waits for the callers' open
    /// requests.
    async fn finish(&mut self) -> io::Result<()> {
        self.send_to_back_ends(&ParentMessage::Finish).await?;
        let until = clock::now() + DEADLINE + TIMEOUT;
        while self.finished_callers < CALLERS || self.measured.iter().any(Option::is_none) {
            let left = until.saturating_sub(clock::now());
            match timeout(left, self.messages.recv()).await {
                Ok(Some((child, messages))) => self.handle(child, messages)?,
                _ => return Err(io::Error::other("children that don't end")),
            }
        }
        for (arm, measured) in self.tally.whole.iter_mut().zip(&mut self.measured) {
            arm.in_flight = measured.take().unwrap_or_default();
        }
        Ok(())
    }

    fn handle(&mut self, child: usize, messages: Option<ChildMessage>) -> io::Result<()> {
        match (messages, child.checked_sub(Arm::ALL.len())) {
            (Some(ChildMessage::Requests { ended, late }), Some(caller)) => {
                self.tally.add(caller, &ended, &late);
            }
            (Some(ChildMessage::Over), Some(_)) => self.finished_callers += 1,
            (Some(ChildMessage::Gauge(in_flight)), None) => self.tally.gauge(child, in_flight),
            (Some(ChildMessage::Measured(in_flight)), None) => {
                self.measured[child] = Some(in_flight)
            }
            // A caller may end after it has sent everything.
            (None, Some(_)) if self.finished_callers > 0 => {}
            (messages, _) => return Err(io::Error::other(format!("child {child}: {messages:?}"))),
        }
        Ok(())
    }
}

/// The agents, one per zone.
struct Agents(Vec<Child>);

impl Agents {
    /// Starts the agents, and waits until each answers.
    async fn start(folder: &Path, services: &Path) -> io::Result<Self> {
        let mut agents = Vec::new();
        for (zone, name) in ZONES.iter().enumerate() {
            let log = folder.join(format!("agent-{name}.log"));
            agents.push((child_process::agent(services, &socket(folder, zone), name, &log)?, log));
        }
        for (zone, (agent, log)) in agents.iter_mut().enumerate() {
            let until = clock::now() + TIMEOUT;
            while let Err(error) = AgentClient::at(socket(folder, zone)).pick(SERVICE).await {
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

    /// The processor seconds of all agents until now.
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
    // Each agent has a folder of its own, as on a node, because it has other sockets there, too.
    folder.join(ZONES[zone]).join("agent.sock")
}

/// A temporary folder of this run. Drop removes it.
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
        // If this fails, the folder stays among the temporary files.
        _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_back_end_closes_after_it_left_the_service() {
        let run = RunConfig { length: Duration::from_secs(20), seed: 1 };
        let due = timetable(run);
        let at = |find: fn(&Step) -> bool| due.iter().find(|(_, due)| find(due)).unwrap().0;
        let removed = at(|due| matches!(due, Step::Change(Change::Remove(_))));
        assert_eq!(at(|due| matches!(due, Step::Close(_))), removed + DRAIN);
        assert_eq!(due.iter().filter(|(_, due)| matches!(due, Step::Second)).count(), 20);
    }
}
