//! Which leases of an owner ended a short while ago.
//!
//! A caller that lost the answer to its report sends it again. It must hear "accepted", and the request
//! must not count twice. At 10,000 requests a second a minute is 600,000 leases, so each takes eight
//! bytes, in sets that are dropped whole as they age. An owner that ends more than its share is
//! remembered for a shorter time; others are not.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use tokio::time::Instant;

use super::id::ByItself;
use crate::quota::Total;

/// Ended leases that are remembered of all owners; three quarters of them of one. At 8 to 18 bytes each
/// these take 6 to 14 MiB.
pub(super) const MOST: usize = 1 << 20;

/// How long an ended lease is remembered, at least.
const MEMORY: Duration = Duration::from_secs(60);
/// Leases that ended within this time share a set, so they are remembered up to this much longer.
const SPAN: Duration = Duration::from_secs(20);
/// Leases of a set: a look goes through all sets, so they are few.
const SET: usize = MOST / 16;

/// How many a look indexes: about 50 us of work. No look takes long, and a caller that looks often soon
/// has all in the index.
const INDEXED_AT_A_TIME: usize = 1024;

/// Fingerprints of ended leases, the oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentlyEnded {
    sets: VecDeque<Set>,
}

/// What ended within a span. Nearly no lease is reported twice, and a large set that grows costs
/// more than all else of a report: so they are only listed, and indexed as somebody looks.
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
    /// Remembers one, out of `total`, of which this owner has `own`. Where it is the first, says when
    /// [`RecentlyEnded::forget`] is due.
    pub(super) fn remember(
        &mut self,
        fingerprint: u64,
        now: Instant,
        total: &Total,
        own: &AtomicUsize,
    ) -> Option<Instant> {
        let first = self.sets.is_empty();
        while total.take(own, 1).is_err() {
            // Where nothing is left to forget, others have all that there is.
            let oldest = self.sets.pop_front()?;
            total.give_back(own, oldest.len());
        }
        let is_full = |set: &Set| now >= set.since + SPAN || set.len() >= SET;
        if self.sets.back().is_none_or(is_full) {
            // As large as the one before, so that a steady load never waits for a list to grow.
            let size = self.sets.back().map_or(0, Set::len);
            let listed = Vec::with_capacity(size);
            self.sets.push_back(Set { since: now, listed, indexed: HashSet::default() });
        }
        if let Some(set) = self.sets.back_mut() {
            set.listed.push(fingerprint);
        }
        first.then_some(now + SPAN + MEMORY)
    }

    /// Whether this one ended less than [`MEMORY`] ago, or not much more.
    pub(super) fn remembers(&mut self, fingerprint: u64, now: Instant) -> bool {
        let fresh = self.sets.iter_mut().filter(|set| now < set.since + SPAN + MEMORY);
        fresh.rev().any(|set| set.contains(fingerprint))
    }

    /// Drops what is old, and says when to come again.
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

    /// Drops all, as the owner goes.
    pub(super) fn clear(&mut self, total: &Total, own: &AtomicUsize) {
        self.sets.drain(..).for_each(|set| total.give_back(own, set.len()));
    }
}
