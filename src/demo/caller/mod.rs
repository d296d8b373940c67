//! A client process. It sends the same Poisson arrivals to each arm, in an open loop: a slow answer delays
//! no later request, so it hides no waiting time.

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

/// How often it sends ended requests to the parent.
const SEND_EVERY: Duration = Duration::from_millis(200);

struct Caller {
    setup: CallerSetup,
    members: Mutex<Vec<usize>>,
    /// Only for the choices. Arrivals have another generator.
    rng: Mutex<Xoshiro256PlusPlus>,
    virtual_ip: VirtualIp,
    /// By arm. Arms share no connections.
    connections: [Connections; Arm::ALL.len()],
    agent: AgentClient,
    reports: mpsc::UnboundedSender<Report>,
}

/// Runs until its last request has ended and was sent to the parent.
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

/// A result to send to the parent.
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
        // The receiver is gone only when the parent is, and then this process ends.
        _ = events.send(CallerEvent::Late(micros(late)));
        for arm in 0..Arm::ALL.len() {
            // The arms take turns to be first.
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

/// Sends results to the parent, until there can be no more.
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

    /// Sends one request of an arm. Its time counts from when it was due, until its end or the deadline.
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
        // The receiver is gone only when this process ends.
        _ = self.reports.send(report(picked.lease, asked.1, clock::now() - begin));
        (cost, asked)
    }

    /// A random member, as a virtual IP or a DNS name with many addresses gives one.
    fn random_member(&self, arm: Arm) -> Option<(usize, SocketAddr)> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let back_end = *members.get(rng.random_range(0..members.len().max(1)))?;
        Some((back_end, self.setup.addresses[arm as usize][back_end]))
    }
}

fn exponential(rng: &mut impl RngExt, mean: Duration) -> Duration {
    // Uses 1 - u, because u may be 0, whose logarithm is infinite.
    mean.mul_f64(-(1.0 - rng.random::<f64>()).ln())
}
