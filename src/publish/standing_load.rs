//! Decides which part of an endpoint's load its score counts: the active part, and standing load
//! only if the endpoint may be hanging.

use std::time::Duration;

use super::segments::Segments;
use crate::{
    catalog::EndpointRef,
    load::{Epochs, ServiceLoad},
    plan::Plan,
};

/// Standing load up to this much above the least in the group is no sign of hanging: streams are
/// not spread more evenly than that.
const AS_SPREAD: f64 = 1.0;

#[derive(Debug)]
pub(super) struct StandingLoad {
    epochs: Epochs,
    /// The standing load of all endpoints at the last turn.
    all: u64,
    /// For each endpoint of the plan, the part of its standing load that counts as active; empty if
    /// no endpoint hangs.
    held_against: Vec<u32>,
}

/// What is in flight at an endpoint, in cost units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    pub(super) all: u32,
    /// The part that has been open for longer than the service's requests take.
    pub(super) standing: u32,
    /// The part that the score counts.
    pub(super) counted: u32,
}

impl StandingLoad {
    pub(super) fn new(now: Duration) -> Self {
        Self { epochs: Epochs::new(now), all: 0, held_against: Vec::new() }
    }

    /// Begins another epoch if it is time. Returns whether it did.
    pub(super) fn turn(
        &mut self,
        segments: &mut Segments,
        service: &mut ServiceLoad,
        now: Duration,
    ) -> bool {
        if !self.epochs.is_due(now) {
            return false;
        }
        let turn = segments.turn();
        self.epochs.turned(now, &turn, service.service_time.longest());
        self.all = turn.standing;
        service.part_standing = self.epochs.part();
        true
    }

    /// When more may become standing by time alone, given what is in flight.
    pub(super) fn next_turn(&self, in_flight: u64) -> Option<Duration> {
        (self.active(in_flight) > 0).then(|| self.epochs.next_turn())
    }

    /// The active part of what is in flight at all endpoints.
    pub(super) fn active(&self, in_flight: u64) -> u64 {
        in_flight.saturating_sub(self.all)
    }

    /// If an endpoint may be hanging, the standing load that it has beyond the least of its group
    /// counts as active. Streams that all endpoints hold alike are held against none.
    pub(super) fn hold_against(&mut self, segments: &Segments, plan: &Plan, slots: &[u32]) {
        self.held_against.clear();
        if !slots.iter().any(|slot| segments.hangs(*slot)) {
            return;
        }
        self.held_against.resize(plan.endpoints.len(), 0);
        for group in &plan.groups {
            let by_weight = |member: &u32| {
                let planned = &plan.endpoints[*member as usize];
                let slot = slots[*member as usize];
                let standing = segments.standing(slot, &planned.endpoint);
                f64::from(standing) / planned.weight
            };
            let least = group.members.iter().map(by_weight).fold(f64::MAX, f64::min);
            for member in group.members.iter().filter(|m| segments.hangs(slots[**m as usize])) {
                let weight = plan.endpoints[*member as usize].weight;
                let more = (by_weight(member) - least) * weight - AS_SPREAD;
                self.held_against[*member as usize] = more.round().max(0.0) as u32;
            }
        }
    }

    pub(super) fn in_flight(
        &self,
        segments: &Segments,
        index: usize,
        slot: u32,
        endpoint: &EndpointRef,
    ) -> InFlight {
        let all = segments.in_flight(slot, endpoint);
        let standing = if all == 0 { 0 } else { segments.standing(slot, endpoint).min(all) };
        let held_against = self.held_against.get(index).copied().unwrap_or(0).min(standing);
        InFlight { all, standing, counted: all - standing + held_against }
    }
}

#[cfg(test)]
mod tests;
