//! What the socket's callers asked and reported of one service, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{catalog::ServiceName, publish::Outcome};

/// Every outcome, in the order of a tally's counts.
pub const OUTCOMES: [Outcome; 6] = [
    Outcome::Success,
    Outcome::Failure,
    Outcome::Unreachable,
    Outcome::Expired,
    Outcome::Cancelled,
    Outcome::Rejected,
];

/// Counts since the agent started; relaxed, since they decide only whether a service is still in use.
#[derive(Debug)]
pub struct Tally {
    service: ServiceName,
    picked: AtomicU64,
    picked_elsewhere: AtomicU64,
    none: AtomicU64,
    shadowed: AtomicU64,
    unreported: AtomicU64,
    expired: AtomicU64,
    opened: AtomicU64,
    ended: [AtomicU64; OUTCOMES.len()],
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            picked: AtomicU64::new(0),
            picked_elsewhere: AtomicU64::new(0),
            none: AtomicU64::new(0),
            shadowed: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            ended: Default::default(),
        }
    }

    /// Whose counts they are.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// A pick found so many endpoints, and so many of them in another zone.
    pub fn picked(&self, endpoints: u64, elsewhere: u64) {
        self.picked.fetch_add(endpoints, Relaxed);
        if elsewhere > 0 {
            self.picked_elsewhere.fetch_add(elsewhere, Relaxed);
        }
    }

    /// A pick found no endpoint that can serve.
    pub fn none(&self) {
        self.none.fetch_add(1, Relaxed);
    }

    /// A pick went to the virtual IP, and was made at an endpoint to see which.
    pub fn shadowed(&self) {
        self.shadowed.fetch_add(1, Relaxed);
    }

    /// A pick whose caller said that it will not report.
    pub fn unreported(&self) {
        self.unreported.fetch_add(1, Relaxed);
    }

    /// A lease was given, or taken over.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// Leases that have not ended.
    pub fn open(&self) -> u64 {
        // In this order it may be too many for a moment, and never too few.
        let ended: u64 = self.ended.iter().map(|count| count.load(Relaxed)).sum();
        self.opened.load(Relaxed).saturating_sub(ended)
    }

    /// A lease ended by its time, unreported.
    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    /// A lease ended.
    pub(super) fn ended(&self, outcome: Outcome) {
        if let Some(index) = OUTCOMES.iter().position(|&each| each == outcome) {
            self.ended[index].fetch_add(1, Relaxed);
        }
    }

    /// Endpoints given out.
    pub fn count_picked(&self) -> u64 {
        self.picked.load(Relaxed)
    }

    /// Of those given out the ones in another zone.
    pub fn count_picked_elsewhere(&self) -> u64 {
        self.picked_elsewhere.load(Relaxed)
    }

    /// Picks without an endpoint.
    pub fn count_none(&self) -> u64 {
        self.none.load(Relaxed)
    }

    /// Picks that were made to see where they would go.
    pub fn count_shadowed(&self) -> u64 {
        self.shadowed.load(Relaxed)
    }

    /// Picks whose callers said that they will not report.
    pub fn count_unreported(&self) -> u64 {
        self.unreported.load(Relaxed)
    }

    /// Leases that nobody reported.
    pub fn count_expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }

    /// Leases ended, in the order of [`OUTCOMES`].
    pub fn count_ended(&self) -> [u64; OUTCOMES.len()] {
        std::array::from_fn(|index| self.ended[index].load(Relaxed))
    }
}
