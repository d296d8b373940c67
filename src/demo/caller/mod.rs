//! A client process: the same Poisson arrivals to each arm, open loop, so that a slow answer holds
//! up no later request and hides no waiting.

mod agent;
mod connection;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, rngs::Xoshiro256PlusPlus};
use tokio::{
    sync::mpsc,
    time::{interval, sleep, timeout},
};

pub(super) use self::agent::Agent;
use self::{
    agent::report,
    connection::{Connections, VirtualIp, Way},
};
use super::{
    message::{CallerSetup, End, News, Order, Request, from_parent, micros, to_parent},
    scene::{Arm, DEADLINE, MEAN_WORK, SERVICE},
};
use crate::{api::v1::Report, clock};

/// How often the parent hears of ended requests.
const TELL: Duration = Duration::from_millis(200);

struct Caller {
    setup: CallerSetup,
    members: Mutex<Vec<usize>>,
    /// Of the choices alone: the arrivals are drawn from another.
    dice: Mutex<Xoshiro256PlusPlus>,
    virtual_ip: VirtualIp,
    /// By arm: an arm shares no connection with another.
    connections: [Connections; Arm::ALL.len()],
    agent: Agent,
    reports: mpsc::UnboundedSender<Report>,
}

/// Runs until its last request has ended and the parent has heard of it.
pub(super) async fn call() -> io::Result<()> {
    let (setup, mut orders) = from_parent::<CallerSetup>()?;
    let (reports, to_report) = mpsc::unbounded_channel();
    let caller = Arc::new(Caller::new(setup, reports));
    loop {
        match orders.recv().await {
            Some(Order::Members(members)) => caller.set_members(members),
            Some(Order::Begin) => break,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    let reporter = Agent::at(caller.setup.agent.clone());
    let reporting = tokio::spawn(async move { reporter.forward(to_report).await });
    let (ended, to_tell) = mpsc::unbounded_channel();
    let arrivals = tokio::spawn(arrive(caller.clone(), ended));
    let telling = tokio::spawn(tell(to_tell));
    tokio::pin!(telling);
    let told = loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Members(members)) => caller.set_members(members),
                Some(_) => {}
                None => return Ok(()),
            },
            told = &mut telling => break told,
        }
    };
    told.map_err(io::Error::other)??;
    arrivals.await.map_err(io::Error::other)?;
    drop(caller);
    reporting.await.map_err(io::Error::other)?;
    to_parent(&News::Over)
}

/// What a request or an arrival has to tell.
enum Told {
    Late(u32),
    Ended(Arm, Request),
}

/// Starts the requests of all arms as each arrival is due.
async fn arrive(caller: Arc<Caller>, told: mpsc::UnboundedSender<Told>) {
    let CallerSetup { run, number, rate, .. } = caller.setup;
    let mut dice = run.dice(number, 0);
    let begin = clock::now();
    let mut due = Duration::ZERO;
    for turn in 0.. {
        due += exponential(&mut dice, Duration::from_secs(1).div_f64(rate));
        let work = micros(exponential(&mut dice, MEAN_WORK));
        if due > run.length {
            return;
        }
        sleep((begin + due).saturating_sub(clock::now())).await;
        let late = clock::now().saturating_sub(begin + due);
        // Nobody listens when the parent is gone: this process ends then.
        _ = told.send(Told::Late(micros(late)));
        for arm in 0..Arm::ALL.len() {
            // Each arm is first in turn.
            let arm = Arm::ALL[(arm + turn) % Arm::ALL.len()];
            let (caller, told) = (caller.clone(), told.clone());
            tokio::spawn(async move {
                let counted = due >= run.warm_up();
                let request = caller.request(arm, begin + due, work.into()).await;
                _ = told.send(Told::Ended(arm, Request { counted, ..request }));
            });
        }
    }
}

/// Tells the parent, until nothing can come any more.
async fn tell(mut from: mpsc::UnboundedReceiver<Told>) -> io::Result<()> {
    let mut every = interval(TELL);
    loop {
        every.tick().await;
        let (mut ended, mut late) = ([const { Vec::new() }; Arm::ALL.len()], Vec::new());
        let over = loop {
            match from.try_recv() {
                Ok(Told::Late(by)) => late.push(by),
                Ok(Told::Ended(arm, request)) => ended[arm as usize].push(request),
                Err(why) => break why == mpsc::error::TryRecvError::Disconnected,
            }
        };
        to_parent(&News::Requests { ended, late })?;
        if over {
            return Ok(());
        }
    }
}

impl Caller {
    fn new(setup: CallerSetup, reports: mpsc::UnboundedSender<Report>) -> Self {
        Self {
            members: Mutex::default(),
            dice: Mutex::new(setup.run.dice(setup.number, 1)),
            virtual_ip: VirtualIp::default(),
            connections: Default::default(),
            agent: Agent::at(setup.agent.clone()),
            reports,
            setup,
        }
    }

    fn set_members(&self, members: Vec<usize>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// One request of an arm, from when it was due to its end or the deadline.
    async fn request(&self, arm: Arm, due: Duration, work: u64) -> Request {
        let left = (due + DEADLINE).saturating_sub(clock::now());
        let any = || self.any_of(arm);
        let (pick, (back_end, end)) = match arm {
            Arm::Connection => (None, Way::VirtualIp(&self.virtual_ip, &any).ask(work, left).await),
            Arm::Random => match any() {
                Some((back_end, address)) => {
                    let way = Way::To(&self.connections[arm as usize], back_end, address);
                    (None, way.ask(work, left).await)
                }
                None => (None, (None, End::Cut)),
            },
            Arm::Pick => self.picked(left, work).await,
        };
        let latency = micros(clock::now().saturating_sub(due));
        Request { counted: true, latency, pick, back_end, end }
    }

    async fn picked(&self, left: Duration, work: u64) -> (Option<u32>, (Option<usize>, End)) {
        let asked = clock::now();
        let picked = timeout(left, self.agent.pick(SERVICE)).await;
        let begin = clock::now();
        let cost = Some(micros(begin - asked));
        let picked = match picked {
            Ok(Ok(picked)) => picked,
            Ok(Err(error)) => {
                eprintln!("pick: {error}");
                return (cost, (None, End::Cut));
            }
            Err(_) => return (cost, (None, End::Expired)),
        };
        let addresses = &self.setup.addresses[Arm::Pick as usize];
        let back_end = addresses.iter().position(|&address| address == picked.address);
        let Some(back_end) = back_end else {
            eprintln!("pick: {} is none of the back-ends", picked.address);
            return (cost, (None, End::Cut));
        };
        let way = Way::To(&self.connections[Arm::Pick as usize], back_end, picked.address);
        let asked = way.ask(work, left.saturating_sub(begin - asked)).await;
        // The reporter is gone only when this process ends.
        _ = self.reports.send(report(picked.lease, asked.1, clock::now() - begin));
        (cost, asked)
    }

    /// A member at random, as a virtual IP or a name with many addresses gives one.
    fn any_of(&self, arm: Arm) -> Option<(usize, SocketAddr)> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let back_end = *members.get(dice.random_range(0..members.len().max(1)))?;
        Some((back_end, self.setup.addresses[arm as usize][back_end]))
    }
}

fn exponential(dice: &mut impl RngExt, mean: Duration) -> Duration {
    // 1 - u: u may be 0, whose logarithm is not a number.
    mean.mul_f64(-(1.0 - dice.random::<f64>()).ln())
}
