//! What the picks of a table's callers share: the picker, the endpoints behind its slots, and what
//! callers reported. One lock covers all of it.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use pointsman_table::{Explanation, Outcome, Pick, Picker, Request, ServerLoad, Table, Waker};

use super::{
    pick_options::PickOptions,
    samples::{Sample, Samples},
    service::ServicePublisher,
    share::{MOST_USERS, Users},
    verdicts::{Allowance, VerdictSummary, Verdicts},
    witnesses::{Failure, Witnesses},
};
use crate::{
    clock,
    identity::Identity,
    plan::{Plan, PlannedEndpoint},
};

/// The index of a slot without an endpoint in the plan.
const NOWHERE: u32 = u32::MAX;

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
    by_address: Option<HashMap<SocketAddr, u32>>,
    /// The source has not confirmed the endpoints for over ten minutes.
    pub(super) stale: bool,
    /// Whether the policy has ejections enabled. If not, failures count for all callers.
    judges: bool,
    /// The identities that picked lately: see [`super::share`].
    pub(super) users: Users,
    samples: Samples,
    picked: Vec<Pick>,
    exclude: Vec<u32>,
    witnesses: Witnesses,
    verdicts: Verdicts,
}

impl PickState {
    /// Attaches new counters to the publisher's table.
    pub(super) fn attach(
        publisher: &mut ServicePublisher,
        seed: u32,
        waker: &Waker,
        stale: bool,
        allowance: &Arc<Allowance>,
    ) -> io::Result<Self> {
        // One shard is enough: the callers share one picker, under its lock.
        let counters = publisher.new_counters(1)?;
        counters.close_fd();
        publisher.attach(counters.clone());
        let mut state = Self {
            picker: Picker::new(publisher.table(), counters, seed, Some(waker.clone())),
            plan: Arc::default(),
            zone: None,
            index_of: Vec::new(),
            by_address: None,
            stale,
            judges: true,
            users: Users::new(),
            samples: Samples::default(),
            picked: Vec::new(),
            exclude: Vec::new(),
            witnesses: Witnesses::default(),
            verdicts: Verdicts::new(allowance.clone()),
        };
        state.learn(publisher);
        Ok(state)
    }

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
            self.by_address = None;
        }
        let index_of = &self.index_of;
        let known = |slot: u32| index_of.get(slot as usize).is_some_and(|at| *at != NOWHERE);
        self.verdicts.retain(clock::now(), known);
    }

    /// The version of the plan.
    pub(super) fn plan_version(&self) -> u64 {
        self.plan.version
    }

    /// The endpoint behind a slot.
    pub(super) fn planned(&self, slot: u32) -> Option<&PlannedEndpoint> {
        let index = *self.index_of.get(slot as usize)?;
        self.plan.endpoints.get(index as usize)
    }

    /// Whether an endpoint is in another zone than this node, as far as both zones are known.
    pub(super) fn is_elsewhere(&self, planned: &PlannedEndpoint) -> bool {
        let zones = self.zone.as_ref().zip(planned.endpoint.zone.as_ref());
        zones.is_some_and(|(here, there)| here != there)
    }

    /// The slot of the endpoint with this address.
    pub(super) fn slot_of(&mut self, address: SocketAddr) -> Option<u32> {
        self.slots_by_address().get(&address).copied()
    }

    fn slots_by_address(&mut self) -> &HashMap<SocketAddr, u32> {
        if self.by_address.is_none() {
            let slots = 0..self.index_of.len() as u32;
            let address = |slot| Some((self.planned(slot)?.endpoint.address, slot));
            self.by_address = Some(slots.filter_map(address).collect());
        }
        self.by_address.get_or_insert_default()
    }

    /// Picks for this caller into [`Self::picked`]. Only the first pick counts in flight.
    pub(super) fn pick(&mut self, want: &PickOptions<'_>, now: Duration) {
        self.note(want.caller);
        self.exclude_slots(want.exclude);
        if self.verdicts.is_empty() {
            self.choose(want);
        } else {
            self.choose_for(want, now);
        }
    }

    /// What the last [`Self::pick`] found.
    pub(super) fn picked(&self) -> &[Pick] {
        &self.picked
    }

    /// Picks into `picked`, without the slots in `exclude`.
    fn choose(&mut self, want: &PickOptions<'_>) {
        let request = Request { exclude: &self.exclude, cost: want.cost, key: want.key };
        self.picked.clear();
        if want.count > 1 {
            self.picker.pick_many(&request, want.count as usize, &mut self.picked);
        } else if self.samples.due() {
            let explained = self.picker.explained(&request);
            self.picked.extend(explained.pick);
            let sample = self.sample(&explained);
            self.samples.keep(sample);
        } else {
            self.picked.extend(self.picker.pick(&request));
        }
    }

    /// Picks like [`Self::choose`], and avoids the endpoints that fail for this caller. If no other
    /// endpoint is left, picks one of those.
    #[cold]
    fn choose_for(&mut self, want: &PickOptions<'_>, now: Duration) {
        let asked = self.exclude.len();
        self.verdicts.avoided(want.caller, now, &mut self.exclude);
        self.choose(want);
        if self.picked.is_empty() && self.exclude.len() > asked {
            self.exclude.truncate(asked);
            self.choose(want);
        }
        // The other picks may never start. [`Self::start`] counts those that do.
        if let Some(first) = self.picked.first() {
            self.verdicts.picked(want.caller, first.slot, now);
        }
    }

    /// Counts the start of a request that was picked and did not count in flight.
    pub(super) fn start(&mut self, pick: Pick, caller: Identity, now: Duration) {
        self.picker.start(pick.slot, pick.cost);
        self.verdicts.picked(caller, pick.slot, now);
    }

    /// Counts the end of a request. Returns whether its caller avoids the endpoint from now on.
    pub(super) fn end(
        &mut self,
        pick: Pick,
        caller: Identity,
        began_at: Duration,
        (outcome, latency): (Outcome, Option<Duration>),
        now: Duration,
    ) -> bool {
        let slot = pick.slot;
        let mut counted = outcome;
        let mut kept_away = false;
        let since = self.planned(slot).and_then(PlannedEndpoint::probed_since);
        if since.is_some_and(|since| began_at < since) {
            counted = Outcome::Cancelled;
        } else {
            match outcome {
                Outcome::Success => {
                    self.witnesses.succeeded(slot, caller, now);
                    self.verdicts.succeeded(caller, slot);
                }
                Outcome::Cancelled | Outcome::Rejected => {
                    self.verdicts.unjudged(caller, slot, now);
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
        self.picker.end(slot, pick.cost, counted, latency_us);
        kept_away
    }

    /// Counts a retry.
    pub(super) fn retried(&mut self) {
        self.picker.retried();
    }

    /// Keeps the load that the server behind a slot reported.
    pub(super) fn report_load(&mut self, slot: u32, load: &ServerLoad) {
        self.picker.report_load(slot, load);
    }

    /// The endpoints that single callers avoid.
    pub(super) fn verdicts(&self) -> Vec<(VerdictSummary, SocketAddr)> {
        let address =
            |verdict: VerdictSummary| Some((verdict, self.planned(verdict.slot)?.endpoint.address));
        self.verdicts.all().filter_map(address).collect()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.all()
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

#[cfg(test)]
mod tests;
