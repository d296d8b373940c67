//! A client process: the same Poisson arrivals to each arm, open loop, so that a slow answer holds
//! up no later request and hides no waiting.

mod agent_client;
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

pub(super) use self::agent_client::AgentClient;
use self::{
    agent_client::report,
    connection::{Connections, Route, VirtualIp},
};
use super::{
    message::{
        CallerSetup, ChildMessage, End, ParentMessage, Request, micros, receive_from_parent,
        send_to_parent,
    },
    scenario::{Arm, DEADLINE, MEAN_WORK, SERVICE},
};
use crate::{api::v1::Report, clock};

/// How often the parent hears of ended requests.
const SEND_EVERY: Duration = Duration::from_millis(200);

struct Caller {
    setup: CallerSetup,
    members: Mutex<Vec<usize>>,
    /// Of the choices alone: the arrivals are drawn from another.
    rng: Mutex<Xoshiro256PlusPlus>,
    virtual_ip: VirtualIp,
    /// By arm: an arm shares no connection with another.
    connections: [Connections; Arm::ALL.len()],
    agent: AgentClient,
    reports: mpsc::UnboundedSender<Report>,
}

/// Runs until its last request has ended and the parent has heard of it.
pub(super) async fn call() -> io::Result<()> {
    let (setup, mut orders) = receive_from_parent::<CallerSetup>()?;
    let (reports, to_report) = mpsc::unbounded_channel();
    let caller = Arc::new(Caller::new(setup, reports));
    loop {
        match orders.recv().await {
            Some(ParentMessage::Members(members)) => caller.set_members(members),
            Some(ParentMessage::Begin) => break,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    let reporter = AgentClient::at(caller.setup.agent.clone());
    let reporting = tokio::spawn(async move { reporter.send_reports(to_report).await });
    let (ended, event_receiver) = mpsc::unbounded_channel();
    let arrivals = tokio::spawn(run_arrivals(caller.clone(), ended));
    let sending = tokio::spawn(send_events(event_receiver));
    tokio::pin!(sending);
    let events = loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(ParentMessage::Members(members)) => caller.set_members(members),
                Some(_) => {}
                None => return Ok(()),
            },
            events = &mut sending => break events,
        }
    };
    events.map_err(io::Error::other)??;
    arrivals.await.map_err(io::Error::other)?;
    drop(caller);
    reporting.await.map_err(io::Error::other)?;
    send_to_parent(&ChildMessage::Over)
}

/// What a request or an arrival has to tell.
enum CallerEvent {
    Late(u32),
    Ended(Arm, Request),
}

/// Starts the requests of all arms as each arrival is due.
async fn run_arrivals(caller: Arc<Caller>, events: mpsc::UnboundedSender<CallerEvent>) {
    let CallerSetup { run, number, rate, .. } = caller.setup;
    let mut rng = run.rng(number, 0);
    let begin = clock::now();
    let mut due = Duration::ZERO;
    for turn in 0.. {
        due += exponential(&mut rng, Duration::from_secs(1).div_f64(rate));
        let work = micros(exponential(&mut rng, MEAN_WORK));
        if due > run.length {
            return;
        }
        sleep((begin + due).saturating_sub(clock::now())).await;
        let late = clock::now().saturating_sub(begin + due);
        // Nobody listens when the parent is gone: this process ends then.
        _ = events.send(CallerEvent::Late(micros(late)));
        for arm in 0..Arm::ALL.len() {
            // Each arm is first in turn.
            let arm = Arm::ALL[(arm + turn) % Arm::ALL.len()];
            let (caller, events) = (caller.clone(), events.clone());
            tokio::spawn(async move {
                let counted = due >= run.warm_up();
                let request = caller.request(arm, begin + due, work.into()).await;
                _ = events.send(CallerEvent::Ended(arm, Request { counted, ..request }));
            });
        }
    }
}

/// Tells the parent, until nothing can come any more.
async fn send_events(mut from: mpsc::UnboundedReceiver<CallerEvent>) -> io::Result<()> {
    let mut every = interval(SEND_EVERY);
    loop {
        every.tick().await;
        let (mut ended, mut late) = ([const { Vec::new() }; Arm::ALL.len()], Vec::new());
        let over = loop {
            match from.try_recv() {
                Ok(CallerEvent::Late(by)) => late.push(by),
                Ok(CallerEvent::Ended(arm, request)) => ended[arm as usize].push(request),
                Err(why) => break why == mpsc::error::TryRecvError::Disconnected,
            }
        };
        send_to_parent(&ChildMessage::Requests { ended, late })?;
        if over {
            return Ok(());
        }
    }
}

impl Caller {
    fn new(setup: CallerSetup, reports: mpsc::UnboundedSender<Report>) -> Self {
        Self {
            members: Mutex::default(),
            rng: Mutex::new(setup.run.rng(setup.number, 1)),
            virtual_ip: VirtualIp::default(),
            connections: Default::default(),
            agent: AgentClient::at(setup.agent.clone()),
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
        let any = || self.random_member(arm);
        let (pick, (back_end, end)) = match arm {
            Arm::Connection => {
                (None, Route::VirtualIp(&self.virtual_ip, &any).send(work, left).await)
            }
            Arm::Random => match any() {
                Some((back_end, address)) => {
                    let route = Route::To(&self.connections[arm as usize], back_end, address);
                    (None, route.send(work, left).await)
                }
                None => (None, (None, End::Cut)),
            },
            Arm::Pick => self.request_by_pick(left, work).await,
        };
        let latency = micros(clock::now().saturating_sub(due));
        Request { counted: true, latency, pick, back_end, end }
    }

    async fn request_by_pick(
        &self,
        left: Duration,
        work: u64,
    ) -> (Option<u32>, (Option<usize>, End)) {
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
        let route = Route::To(&self.connections[Arm::Pick as usize], back_end, picked.address);
        let asked = route.send(work, left.saturating_sub(begin - asked)).await;
        // The reporter is gone only when this process ends.
        _ = self.reports.send(report(picked.lease, asked.1, clock::now() - begin));
        (cost, asked)
    }

    /// A member at random, as a virtual IP or a name with many addresses gives one.
    fn random_member(&self, arm: Arm) -> Option<(usize, SocketAddr)> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let back_end = *members.get(rng.random_range(0..members.len().max(1)))?;
        Some((back_end, self.setup.addresses[arm as usize][back_end]))
    }
}

fn exponential(rng: &mut impl RngExt, mean: Duration) -> Duration {
    // 1 - u: u may be 0, whose logarithm is not a number.
    mean.mul_f64(-(1.0 - rng.random::<f64>()).ln())
}
