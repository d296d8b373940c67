//! The callers of the socket. For the table they are one process: they share one set of counters
//! and one picker.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pointsman_table::{Outcome, Pick, ServerLoad, Waker};
use smallvec::SmallVec;
use tracing::warn;

use super::{
    pick_options::PickOptions,
    pick_state::PickState,
    routing::Routing,
    samples::Sample,
    service::ServicePublisher,
    target::Target,
    usual_time::UsualTime,
    verdicts::{Allowance, VerdictSummary},
};
use crate::{
    catalog::EndpointRef,
    clock,
    identity::Identity,
    load::{Ages, Epoch},
};

/// A longer request is a stream: it counts in flight, but its latency says nothing about the
/// endpoint.
const STREAM: Duration = Duration::from_secs(30);

/// A picked endpoint, in flight or not yet. If it is dropped without an end, it counts as
/// cancelled.
#[derive(Debug)]
pub struct InFlightGuard {
    /// The endpoint, as the source knows it.
    pub endpoint: EndpointRef,
    /// The index of its group in the plan.
    pub priority: u32,
    callers: Arc<Callers>,
    pick: Pick,
    begun: Epoch,
    /// The identity on whose behalf it was picked.
    caller: Identity,
    started: bool,
    /// When the request started, as far as this agent knows.
    began_at: Duration,
}

impl InFlightGuard {
    /// The target it was picked from.
    pub fn target(&self) -> &Target {
        &self.callers.target
    }

    pub fn cost(&self) -> u32 {
        self.pick.cost
    }

    /// Counts it in flight from now on, unless it is already.
    pub fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.began_at = clock::now();
            self.callers.lock().start(self.pick, self.caller, self.began_at);
            self.begun = self.callers.ages.began(self.pick.slot, self.pick.cost);
        }
    }

    /// The usual time of a request to its target.
    pub fn usual_time(&self) -> Duration {
        self.callers.usual_time.get()
    }

    /// Keeps the load that the server reported.
    pub fn report_load(&self, load: &ServerLoad) {
        self.callers.lock().report_load(self.pick.slot, load);
    }

    /// Counts the request as a retry, for the retry budget of its target.
    pub fn retried(&self) {
        self.callers.lock().retried();
    }

    /// Ends the request.
    pub fn end(mut self, outcome: Outcome, latency: Option<Duration>) {
        self.finish(outcome, latency);
    }

    fn finish(&mut self, outcome: Outcome, latency: Option<Duration>) {
        if std::mem::take(&mut self.started) {
            let latency = latency.filter(|l| *l <= STREAM);
            let now = clock::now();
            let Pick { slot, cost } = self.pick;
            let kept_away = self.callers.lock().end(
                self.pick,
                self.caller,
                self.began_at,
                (outcome, latency),
                now,
            );
            self.callers.ages.ended(slot, cost, self.begun, is_answer(outcome));
            if kept_away {
                self.name_caller(outcome, now);
            }
        }
    }

    #[cold]
    fn name_caller(&self, outcome: Outcome, now: Duration) {
        if let Some(caller) = self.callers.allowance.name(self.caller, now) {
            warn!(
                %caller,
                service = %self.callers.target,
                endpoint = %self.endpoint.address,
                ?outcome,
                "a caller's requests fail at an endpoint where others succeed: its own picks avoid \
                 it"
            );
        }
    }
}

/// The endpoints of one pick, at least one.
#[derive(Debug)]
pub struct PickedEndpoints {
    /// The first is in flight, the others from [`InFlightGuard::start`] on.
    pub picks: SmallVec<[InFlightGuard; 1]>,
    /// How many of them are in another zone than this node, as far as both zones are known.
    pub elsewhere: u64,
    pub routing: Routing,
    /// The version of the plan.
    pub plan: u64,
    /// The source has not confirmed the endpoints for over ten minutes.
    pub stale: bool,
}

/// Whether the outcome is an answer of the server. An endpoint that gives none may be hanging.
fn is_answer(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Success | Outcome::Failure | Outcome::Rejected)
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.finish(Outcome::Cancelled, None);
    }
}

/// The callers of the socket, which count as one process in one table. Those of a superseded table
/// live until their last [`InFlightGuard`] is gone.
#[derive(Debug)]
pub(super) struct Callers {
    target: Target,
    /// Counts what they have in flight by slot and age.
    ages: Arc<Ages>,
    usual_time: UsualTime,
    allowance: Arc<Allowance>,
    state: Mutex<PickState>,
}

impl Callers {
    /// Attaches new counters to the publisher's table.
    pub(super) fn attach(
        target: &Target,
        publisher: &mut ServicePublisher,
        seed: u32,
        waker: &Waker,
        stale: bool,
        allowance: &Arc<Allowance>,
    ) -> io::Result<Arc<Self>> {
        let state = PickState::attach(publisher, seed, waker, stale, allowance)?;
        Ok(Arc::new(Self {
            target: target.clone(),
            ages: publisher.ages(),
            usual_time: publisher.usual_time(),
            allowance: allowance.clone(),
            state: Mutex::new(state),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PickState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Picks up to `count` distinct endpoints, of which the first counts in flight. Picks none if
    /// none can serve.
    pub(super) fn pick(self: &Arc<Self>, want: &PickOptions<'_>) -> PickedEndpoints {
        let mut state = self.lock();
        let now = clock::now();
        state.pick(want, now);
        let mut picks = SmallVec::with_capacity(state.picked().len());
        let mut elsewhere = 0;
        for (index, pick) in state.picked().iter().enumerate() {
            let Some(planned) = state.planned(pick.slot) else {
                debug_assert!(false, "slot {} was named before it was learnt", pick.slot);
                continue;
            };
            elsewhere += u64::from(state.is_elsewhere(planned));
            let started = index == 0;
            let begun =
                if started { self.ages.began(pick.slot, pick.cost) } else { Epoch::default() };
            picks.push(InFlightGuard {
                endpoint: planned.endpoint.clone(),
                priority: planned.group.unwrap_or_default() as u32,
                callers: self.clone(),
                pick: *pick,
                caller: want.caller,
                begun,
                started,
                began_at: now,
            });
        }
        PickedEndpoints {
            picks,
            elsewhere,
            routing: Routing::Balanced,
            plan: state.plan_version(),
            stale: state.stale,
        }
    }

    /// Counts a pick of an earlier agent; None if its endpoint is gone.
    pub(super) fn adopt(
        self: &Arc<Self>,
        address: SocketAddr,
        cost: u32,
        in_flight: bool,
        caller: Identity,
    ) -> Option<InFlightGuard> {
        let mut state = self.lock();
        let slot = state.slot_of(address)?;
        let planned = state.planned(slot)?;
        let mut held = InFlightGuard {
            endpoint: planned.endpoint.clone(),
            priority: planned.group.unwrap_or_default() as u32,
            callers: self.clone(),
            pick: Pick { slot, cost },
            begun: Epoch::default(),
            caller,
            started: false,
            began_at: Duration::ZERO,
        };
        drop(state);
        if in_flight {
            held.start();
            // The request began before everything that this agent decided.
            held.began_at = Duration::ZERO;
        }
        Some(held)
    }

    /// The endpoints that single callers avoid.
    pub(super) fn verdicts(&self) -> Vec<(VerdictSummary, SocketAddr)> {
        self.lock().verdicts()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().samples()
    }
}
