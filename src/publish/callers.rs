//! The callers of the socket. For the table they are one process: they share one set of counters
//! and one picker.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pointsman_table::{Explanation, Pick, Picker, Request, ServerLoad, Table, Waker};
use smallvec::SmallVec;
use tracing::warn;

use super::{
    Outcome, ServicePublisher,
    pick_options::PickOptions,
    routing::Routing,
    samples::{Sample, Samples},
    share::{MOST_USERS, Users},
    target::Target,
    usual_time::UsualTime,
    verdicts::{Allowance, VerdictSummary, Verdicts},
    witnesses::{Failure, Witnesses},
};
use crate::{
    catalog::EndpointRef,
    clock,
    identity::Identity,
    load::{Ages, Epoch},
    plan::{Plan, PlannedEndpoint},
};

/// The index of a slot without an endpoint in the plan.
const NOWHERE: u32 = u32::MAX;

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
            let mut state = self.callers.lock();
            state.picker.start(self.pick.slot, self.pick.cost);
            state.verdicts.picked(self.caller, self.pick.slot, self.began_at);
            drop(state);
            self.begun = self.callers.ages.began(self.pick.slot, self.pick.cost);
        }
    }

    /// The usual time of a request to its target.
    pub fn usual_time(&self) -> Duration {
        self.callers.usual_time.get()
    }

    /// Keeps the load that the server reported.
    pub fn report_load(&self, load: &ServerLoad) {
        self.callers.lock().picker.report_load(self.pick.slot, load);
    }

    pub fn retried(&self) {
        self.callers.lock().picker.retried();
    }

    /// Ends the request.
    pub fn end(mut self, outcome: Outcome, latency: Option<Duration>) {
        self.finish(outcome, latency);
    }

    fn finish(&mut self, outcome: Outcome, latency: Option<Duration>) {
        if std::mem::take(&mut self.started) {
            let latency = latency.filter(|l| *l <= STREAM);
            let now = clock::now();
            let mut state = self.callers.lock();
            let kept_away = state.end(self, outcome, latency, now);
            drop(state);
            let Pick { slot, cost } = self.pick;
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

/// All that picks need, under one lock. When endpoints change, [`super::ServiceTable`] holds the
/// lock from the new generation until [`PickState::learn`] returns, so that no pick gets a slot
/// without an endpoint.
#[derive(Debug)]
pub(super) struct PickState {
    picker: Picker,
    plan: Arc<Plan>,
    /// The zone of this node.
    zone: Option<Arc<str>>,
    /// For each slot the index of its endpoint in the plan, or [`NOWHERE`].
    index_of: Vec<u32>,
    /// The slots by address; None until a caller names an address. Without the map, each pick that
    /// excludes addresses would search all endpoints under the lock that all picks need.
    slot_of: Option<HashMap<SocketAddr, u32>>,
    /// The source has not confirmed the endpoints for over ten minutes.
    pub(super) stale: bool,
    /// Whether the policy has ejections enabled. If not, failures count for all callers.
    judges: bool,
    /// The identities that picked lately: see [`super::share`].
    pub(super) users: Users,
    samples: Samples,
    many: Vec<Pick>,
    exclude: Vec<u32>,
    witnesses: Witnesses,
    verdicts: Verdicts,
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
        // One shard is enough: the callers share one picker, under its lock.
        let counters = publisher.new_counters(1)?;
        counters.close_fd();
        publisher.attach(counters.clone());
        let mut state = PickState {
            picker: Picker::new(publisher.table(), counters, seed, Some(waker.clone())),
            plan: Arc::default(),
            zone: None,
            index_of: Vec::new(),
            slot_of: None,
            stale,
            judges: true,
            users: Users::new(),
            samples: Samples::default(),
            many: Vec::new(),
            exclude: Vec::new(),
            witnesses: Witnesses::default(),
            verdicts: Verdicts::new(allowance.clone()),
        };
        state.learn(publisher);
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
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = clock::now();
        state.note(want.caller);
        state.exclude_slots(want.exclude);
        if state.verdicts.is_empty() {
            state.choose(want);
        } else {
            state.choose_for(want, now);
        }
        let mut picks = SmallVec::with_capacity(state.many.len());
        let mut elsewhere = 0;
        for (index, pick) in state.many.iter().enumerate() {
            let Some(planned) = state.planned(pick.slot) else {
                debug_assert!(false, "slot {} was named before it was learnt", pick.slot);
                if index == 0 {
                    // The picker has counted it in flight already, and no guard would end it.
                    state.picker.end(pick.slot, pick.cost, Outcome::Cancelled, None);
                }
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
            plan: state.plan.version,
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
        let slot = *state.slots_by_address().get(&address)?;
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
        let state = self.lock();
        let address = |verdict: VerdictSummary| {
            Some((verdict, state.planned(verdict.slot)?.endpoint.address))
        };
        state.verdicts.all().filter_map(address).collect()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().samples.all()
    }
}

impl PickState {
    /// Whether these callers pick from `table`.
    pub(super) fn pick_from(&self, table: &Arc<Table>) -> bool {
        Arc::ptr_eq(self.picker.table(), table)
    }

    /// Takes over the plan's endpoints and their slots.
    pub(super) fn learn(&mut self, publisher: &ServicePublisher) {
        self.plan = publisher.plan().clone();
        self.judges = publisher.policy().outlier.enabled;
        self.zone.clone_from(&publisher.locality().zone);
        let slots = publisher.slots();
        let most = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        let before = std::mem::replace(&mut self.index_of, vec![NOWHERE; most]);
        for (index, slot) in slots.iter().enumerate() {
            self.index_of[*slot as usize] = index as u32;
        }
        // A slot keeps its endpoint for the life of the table, so the same slots have the same
        // addresses.
        if self.index_of != before {
            self.slot_of = None;
        }
        if !self.verdicts.is_empty() {
            let index_of = &self.index_of;
            let known = |slot: u32| index_of.get(slot as usize).is_some_and(|at| *at != NOWHERE);
            self.verdicts.retain(clock::now(), known);
        }
    }

    fn slots_by_address(&mut self) -> &HashMap<SocketAddr, u32> {
        if self.slot_of.is_none() {
            let slots = 0..self.index_of.len() as u32;
            let address = |slot| Some((self.planned(slot)?.endpoint.address, slot));
            self.slot_of = Some(slots.filter_map(address).collect());
        }
        self.slot_of.get_or_insert_default()
    }

    /// Picks into `many`, without the slots in `exclude`.
    fn choose(&mut self, want: &PickOptions<'_>) {
        let request = Request { exclude: &self.exclude, cost: want.cost, key: want.key };
        self.many.clear();
        if want.count > 1 {
            self.picker.pick_many(&request, want.count as usize, &mut self.many);
        } else if self.samples.due() {
            let explained = self.picker.explained(&request);
            self.many.extend(explained.pick);
            let sample = self.sample(&explained);
            self.samples.keep(sample);
        } else {
            self.many.extend(self.picker.pick(&request));
        }
    }

    /// Picks like [`Self::choose`], and avoids the endpoints that fail for this caller. If no other
    /// endpoint is left, picks one of those.
    #[cold]
    fn choose_for(&mut self, want: &PickOptions<'_>, now: Duration) {
        let asked = self.exclude.len();
        self.verdicts.avoided(want.caller, now, &mut self.exclude);
        self.choose(want);
        if self.many.is_empty() && self.exclude.len() > asked {
            self.exclude.truncate(asked);
            self.choose(want);
        }
        // The other picks may never start. [`InFlightGuard::start`] counts those that do.
        if let Some(first) = self.many.first() {
            self.verdicts.picked(want.caller, first.slot, now);
        }
    }

    /// Counts the end of a request. Returns whether its caller avoids the endpoint from now on.
    fn end(
        &mut self,
        held: &InFlightGuard,
        outcome: Outcome,
        latency: Option<Duration>,
        now: Duration,
    ) -> bool {
        let (slot, caller) = (held.pick.slot, held.caller);
        let mut counted = outcome;
        let mut kept_away = false;
        let since = self.planned(slot).and_then(PlannedEndpoint::probed_since);
        if since.is_some_and(|since| held.began_at < since) {
            counted = Outcome::Cancelled;
        } else {
            match outcome {
                Outcome::Success => {
                    self.witnesses.succeeded(slot, caller, now);
                    if !self.verdicts.is_empty() {
                        self.verdicts.succeeded(caller, slot);
                    }
                }
                Outcome::Cancelled | Outcome::Rejected => {
                    if !self.verdicts.is_empty() {
                        self.verdicts.unjudged(caller, slot, now);
                    }
                }
                Outcome::Unreachable => {
                    (counted, kept_away) =
                        self.failed(slot, caller, Failure::Unreachable, outcome, now);
                }
                Outcome::Failure | Outcome::Expired => {
                    (counted, kept_away) = self.failed(slot, caller, Failure::Failed, outcome, now);
                }
            }
        }
        let latency_us = latency.map(|latency| latency.as_micros() as u32);
        self.picker.end(slot, held.pick.cost, counted, latency_us);
        kept_away
    }

    /// The outcome that a failure counts as for all callers, and whether its own caller avoids the
    /// endpoint from now on.
    #[cold]
    fn failed(
        &mut self,
        slot: u32,
        caller: Identity,
        failure: Failure,
        outcome: Outcome,
        now: Duration,
    ) -> (Outcome, bool) {
        if !self.judges || !self.witnesses.failed(slot, caller, failure, now) {
            self.verdicts.failed_as_others(caller, slot, failure, now);
            return (outcome, false);
        }
        (Outcome::Cancelled, self.verdicts.failed(caller, slot, failure, now))
    }

    fn note(&mut self, user: Identity) {
        if !self.users.contains(&user) && self.users.len() < MOST_USERS {
            self.users.push(user);
        }
    }

    fn planned(&self, slot: u32) -> Option<&PlannedEndpoint> {
        let index = *self.index_of.get(slot as usize)?;
        self.plan.endpoints.get(index as usize)
    }

    fn is_elsewhere(&self, planned: &PlannedEndpoint) -> bool {
        let zones = self.zone.as_ref().zip(planned.endpoint.zone.as_ref());
        zones.is_some_and(|(here, there)| here != there)
    }

    /// Puts the slots of these addresses into `exclude`.
    fn exclude_slots(&mut self, addresses: &[SocketAddr]) {
        self.exclude.clear();
        if !addresses.is_empty() {
            let mut exclude = std::mem::take(&mut self.exclude);
            let slots = self.slots_by_address();
            exclude.extend(addresses.iter().filter_map(|address| slots.get(address)));
            self.exclude = exclude;
        }
    }

    fn sample(&self, explained: &Explanation) -> Sample {
        let address = |slot: u32| Some(self.planned(slot)?.endpoint.address);
        Sample {
            at: clock::wall(),
            group: explained.group,
            candidates: (explained.candidates.iter())
                .filter_map(|c| Some((address(c.slot)?, c.score, c.eligible)))
                .collect(),
            chosen: explained.pick.and_then(|pick| address(pick.slot)),
            overflowed: explained.overflowed,
        }
    }
}
