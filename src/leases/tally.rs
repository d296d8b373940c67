//! Counts what the socket's callers picked and reported of one service, for the metrics.

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

/// Counts since the agent started. Relaxed atomics are enough, since the only decision they make is
/// whether a service is still in use.
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

    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Counts a pick of `endpoints` endpoints, `elsewhere` of them in another zone.
    pub fn picked(&self, endpoints: u64, elsewhere: u64) {
        self.picked.fetch_add(endpoints, Relaxed);
        if elsewhere > 0 {
            self.picked_elsewhere.fetch_add(elsewhere, Relaxed);
        }
    }

    /// Counts a pick without an endpoint that can serve.
    pub fn none(&self) {
        self.none.fetch_add(1, Relaxed);
    }

    /// Counts a request that went to the virtual IP, for which an endpoint was picked as well.
    pub fn shadowed(&self) {
        self.shadowed.fetch_add(1, Relaxed);
    }

    /// Counts a pick whose caller will not report it.
    pub fn unreported(&self) {
        self.unreported.fetch_add(1, Relaxed);
    }

    /// Counts a lease that was given, or taken over.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// The number of leases that have not ended.
    pub fn open(&self) -> u64 {
        // In this order the result may be too high for a moment, but never too low.
        let ended: u64 = self.ended.iter().map(|count| count.load(Relaxed)).sum();
        self.opened.load(Relaxed).saturating_sub(ended)
    }

    /// Counts a lease that expired without a report.
    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        if let Some(index) = OUTCOMES.iter().position(|&each| each == outcome) {
            self.ended[index].fetch_add(1, Relaxed);
        }
    }

    /// The number of picked endpoints.
    pub fn count_picked(&self) -> u64 {
        self.picked.load(Relaxed)
    }

    /// The part of the picked endpoints that are in another zone.
    pub fn count_picked_elsewhere(&self) -> u64 {
        self.picked_elsewhere.load(Relaxed)
    }

    pub fn count_none(&self) -> u64 {
        self.none.load(Relaxed)
    }

    /// The number of requests to the virtual IP for which an endpoint was picked as well.
    pub fn count_shadowed(&self) -> u64 {
        self.shadowed.load(Relaxed)
    }

    /// The number of picks whose callers will not report them.
    pub fn count_unreported(&self) -> u64 {
        self.unreported.load(Relaxed)
    }

    pub fn count_expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }

    /// The number of ended leases, in the order of [`OUTCOMES`].
    pub fn count_ended(&self) -> [u64; OUTCOMES.len()] {
        std::array::from_fn(|index| self.ended[index].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(ServiceName::new("cart", "shop", None).unwrap())
    }

    #[test]
    fn whatever_happens_is_counted_apart() {
        let tally = tally();
        tally.picked(3, 0);
        tally.picked(20, 4);
        tally.picked(100, 10);
        let counts = [
            (Tally::none as fn(&Tally), Tally::count_none as fn(&Tally) -> u64),
            (Tally::shadowed, Tally::count_shadowed),
            (Tally::unreported, Tally::count_unreported),
            (Tally::expired, Tally::count_expired),
        ];
        for (times, (count, _)) in (1..).zip(counts) {
            (0..times).for_each(|_| count(&tally));
        }
        assert_eq!(counts.map(|(_, counted)| counted(&tally)), [1, 2, 3, 4]);
        assert_eq!((tally.count_picked(), tally.count_picked_elsewhere()), (123, 14));
    }

    #[test]
    fn a_lease_is_open_until_it_ends_with_any_outcome() {
        let tally = tally();
        (0..7).for_each(|_| tally.opened());
        for (ended, outcome) in (1..).zip(OUTCOMES) {
            assert_eq!(tally.open(), 8 - ended);
            tally.ended(outcome);
        }
        tally.ended(OUTCOMES[5]);
        assert_eq!((tally.open(), tally.count_ended()), (0, [1, 1, 1, 1, 1, 2]));
    }
}
