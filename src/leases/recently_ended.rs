//! Remembers which leases of an owner ended a short while ago.
//!
//! A caller that lost the answer to its report sends the report again. It must get "accepted", and
//! the request must not count twice. At 10,000 requests a second, a minute has 600,000 leases. So
//! each takes eight bytes, in sets that are dropped whole as they age. If an owner ends more than
//! its share, its own leases are remembered for a shorter time.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use tokio::time::Instant;

use super::id::ByItself;
use crate::quota::Total;

/// The most ended leases that are remembered of all owners, three quarters of them of one. At 8 to
/// 18 bytes each they take 6 to 14 MiB.
pub(super) const MOST: usize = 1 << 20;

/// How long an ended lease is remembered, at least.
const MEMORY: Duration = Duration::from_secs(60);
/// Leases that ended within this time share a set, so some are remembered for this much longer.
const SPAN: Duration = Duration::from_secs(20);
/// The most leases of a set. A search goes through all sets, so there must be few sets.
const SET: usize = MOST / 16;

/// The number of leases that one search adds to the index: about 50 us of work. So no search takes
/// long, and after a few searches all leases are in the index.
const INDEXED_AT_A_TIME: usize = 1024;

/// The fingerprints of ended leases, the oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentlyEnded {
    sets: VecDeque<Set>,
}

/// The leases that ended within a span. Nearly no lease is reported twice, and to grow a large hash
/// set costs more than the rest of a report. So leases are only listed, and indexed when a search
/// comes.
#[derive(Debug)]
struct Set {
    since: Instant,
    listed: Vec<u64>,
    indexed: HashSet<u64, ByItself>,
}

impl Set {
    fn contains(&mut self, fingerprint: u64) -> bool {
        let rest = self.listed.len().saturating_sub(INDEXED_AT_A_TIME);
        self.indexed.extend(self.listed.drain(rest..));
        self.indexed.contains(&fingerprint) || self.listed.contains(&fingerprint)
    }

    fn len(&self) -> usize {
        self.listed.len() + self.indexed.len()
    }
}

impl RecentlyEnded {
    /// Remembers one lease, out of `total`, of which this owner has `own`. If it is the owner's
    /// first, returns when [`RecentlyEnded::forget`] is due.
    pub(super) fn remember(
        &mut self,
        fingerprint: u64,
        now: Instant,
        total: &Total,
        own: &AtomicUsize,
    ) -> Option<Instant> {
        let first = self.sets.is_empty();
        while total.take(own, 1).is_err() {
            // If this owner has nothing to forget, other owners hold the whole total.
            let oldest = self.sets.pop_front()?;
            total.give_back(own, oldest.len());
        }
        let is_full = |set: &Set| now >= set.since + SPAN || set.len() >= SET;
        if self.sets.back().is_none_or(is_full) {
            // The list is as large as the one before, so that a steady load never waits for it to
            // grow.
            let size = self.sets.back().map_or(0, Set::len);
            let listed = Vec::with_capacity(size);
            self.sets.push_back(Set { since: now, listed, indexed: HashSet::default() });
        }
        if let Some(set) = self.sets.back_mut() {
            set.listed.push(fingerprint);
        }
        first.then_some(now + SPAN + MEMORY)
    }

    /// Whether this lease ended less than [`MEMORY`] ago, or up to [`SPAN`] more.
    pub(super) fn remembers(&mut self, fingerprint: u64, now: Instant) -> bool {
        let fresh = self.sets.iter_mut().filter(|set| now < set.since + SPAN + MEMORY);
        fresh.rev().any(|set| set.contains(fingerprint))
    }

    /// Drops old sets. Returns when the next one is due.
    pub(super) fn forget(
        &mut self,
        now: Instant,
        total: &Total,
        own: &AtomicUsize,
    ) -> Option<Instant> {
        while let Some(set) = self.sets.front()
            && now >= set.since + SPAN + MEMORY
        {
            total.give_back(own, set.len());
            self.sets.pop_front();
        }
        self.sets.front().map(|set| set.since + SPAN + MEMORY)
    }

    /// Drops all sets, when the owner goes.
    pub(super) fn clear(&mut self, total: &Total, own: &AtomicUsize) {
        self.sets.drain(..).for_each(|set| total.give_back(own, set.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ended leases of one owner, and what they take of the total.
    struct Ended {
        recently: RecentlyEnded,
        total: Total,
        own: AtomicUsize,
        start: Instant,
    }

    impl Ended {
        fn new(total: usize) -> Self {
            let (recently, own) = (RecentlyEnded::default(), AtomicUsize::new(0));
            Self { recently, total: Total::new("ended", total), own, start: Instant::now() }
        }

        fn remember(&mut self, fingerprint: u64, seconds: u64) -> Option<Instant> {
            let now = self.start + Duration::from_secs(seconds);
            self.recently.remember(fingerprint, now, &self.total, &self.own)
        }

        fn remembers(&mut self, fingerprint: u64, seconds: u64) -> bool {
            self.recently.remembers(fingerprint, self.start + Duration::from_secs(seconds))
        }

        fn forget(&mut self, seconds: u64) -> Option<u64> {
            let now = self.start + Duration::from_secs(seconds);
            let next = self.recently.forget(now, &self.total, &self.own)?;
            Some((next - self.start).as_secs())
        }
    }

    #[test]
    fn leases_that_end_within_a_span_are_forgotten_together_a_minute_after_it() {
        let mut ended = Ended::new(1000);
        let due = ended.remember(1, 0).expect("the first says when to forget");
        assert_eq!(due - ended.start, SPAN + MEMORY);
        assert_eq!((ended.remember(2, 19), ended.remember(3, 20)), (None, None));
        assert_eq!(ended.recently.sets.len(), 2);
        assert!(ended.remembers(1, 79) && ended.remembers(2, 79) && ended.remembers(3, 99));
        assert!(!ended.remembers(1, 80) && !ended.remembers(2, 80) && !ended.remembers(3, 100));
        assert_eq!(ended.forget(79), Some(80));
        assert_eq!(ended.total.in_use(), 3);
        assert_eq!(ended.forget(80), Some(100));
        assert_eq!(ended.total.in_use(), 1);
        assert_eq!(ended.forget(100), None);
        assert_eq!(ended.total.in_use(), 0);
    }

    #[test]
    fn a_search_indexes_some_of_a_set_and_finds_the_others_as_well() {
        let mut ended = Ended::new(1 << 20);
        (0..2500).for_each(|fingerprint| _ = ended.remember(fingerprint, 0));
        let indexed = |ended: &Ended| {
            let set = &ended.recently.sets[0];
            (set.indexed.len(), set.listed.len())
        };
        for parts in [(1024, 1476), (2048, 452), (2500, 0)] {
            assert!(ended.remembers(0, 1) && !ended.remembers(9999, 100));
            assert_eq!(indexed(&ended), parts);
        }
        assert!(ended.remembers(2499, 1) && !ended.remembers(2500, 1));
        ended.recently.clear(&ended.total, &ended.own);
        assert_eq!(ended.total.in_use(), 0);
    }

    #[test]
    fn a_full_set_is_followed_by_one_with_as_much_room() {
        let mut ended = Ended::new(MOST);
        (0..=SET as u64).for_each(|fingerprint| _ = ended.remember(fingerprint, 0));
        let sets: Vec<usize> = ended.recently.sets.iter().map(Set::len).collect();
        assert_eq!(sets, [SET, 1]);
        assert_eq!(ended.recently.sets[1].listed.capacity(), SET);
    }

    #[test]
    fn an_owner_with_nothing_to_forget_forgets_nothing_of_others() {
        let mut ended = Ended::new(4);
        let other = AtomicUsize::new(0);
        while ended.total.take(&other, 1).is_ok() {}
        ended.total.take(&AtomicUsize::new(0), 1).expect("there is a reserve");
        assert_eq!((ended.remember(1, 0), ended.remembers(1, 0)), (None, false));
        assert_eq!(ended.total.in_use(), 4);
    }
}
