//! Which leases ended a short while ago.
//!
//! A caller that lost the answer to its report sends it again: it must hear "accepted", and the
//! request must not count twice. At 20,000 requests a second a minute is over a million leases, so
//! each takes eight bytes, in sets that are dropped whole as they age.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Identity,
    id::{ByItself, LeaseId},
};

/// How long an ended lease is remembered, at least.
const MEMORY: Duration = Duration::from_secs(60);
/// Leases that ended within this time share a set, so they are remembered up to this much longer.
const SPAN: Duration = Duration::from_secs(20);

/// How many a look indexes: about 50 us of work, so that none takes long, and who looks often soon
/// has all in the index.
const INDEXED_AT_A_TIME: usize = 1024;

/// Fingerprints of the leases of one shard that ended, oldest first.
#[derive(Default)]
pub(super) struct Ended {
    sets: VecDeque<Set>,
}

/// What ended within a span. Nearly no lease is reported twice, and a large set that grows costs
/// more than all else of a report: so they are only listed, and indexed as somebody looks.
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

impl Ended {
    /// Remembers one. Where it is the first, says when [`Ended::forget`] is due.
    pub(super) fn remember(
        &mut self,
        id: LeaseId,
        identity: Identity,
        now: Instant,
    ) -> Option<Instant> {
        let first = self.sets.is_empty();
        if self.sets.back().is_none_or(|set| now >= set.since + SPAN) {
            // As large as the one before, so that a steady load never waits for a list to grow.
            let size = self.sets.back().map_or(0, Set::len);
            let listed = Vec::with_capacity(size);
            self.sets.push_back(Set { since: now, listed, indexed: HashSet::default() });
        }
        if let Some(set) = self.sets.back_mut() {
            set.listed.push(fingerprint(id, identity));
        }
        first.then_some(now + SPAN + MEMORY)
    }

    /// Whether this lease of this identity ended less than [`MEMORY`] ago, or not much more.
    pub(super) fn remembers(&mut self, id: LeaseId, identity: Identity, now: Instant) -> bool {
        let fingerprint = fingerprint(id, identity);
        let fresh = self.sets.iter_mut().filter(|set| now < set.since + SPAN + MEMORY);
        fresh.rev().any(|set| set.contains(fingerprint))
    }

    /// Drops what is old, and says when to come again.
    pub(super) fn forget(&mut self, now: Instant) -> Option<Instant> {
        while self.sets.front().is_some_and(|set| now >= set.since + SPAN + MEMORY) {
            self.sets.pop_front();
        }
        self.sets.front().map(|set| set.since + SPAN + MEMORY)
    }

    pub(super) fn len(&self) -> usize {
        self.sets.iter().map(Set::len).sum()
    }
}

fn fingerprint(id: LeaseId, identity: Identity) -> u64 {
    id.fingerprint(identity.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity::Uid(1);

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_remembered_for_a_minute_and_not_for_ever() {
        let mut ended = Ended::default();
        let (first, second) = (LeaseId::random(), LeaseId::random());
        let start = Instant::now();
        let due = ended.remember(first, ME, start).expect("the first asks to be forgotten");
        assert_eq!(ended.remember(second, ME, start + Duration::from_secs(19)), None);

        assert!(ended.remembers(first, ME, start + Duration::from_secs(60)));
        assert!(ended.remembers(second, ME, start + Duration::from_secs(79)));
        assert!(!ended.remembers(first, ME, due));
        assert_eq!(ended.forget(due), None);
        assert_eq!(ended.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_of_another_identity_is_not_remembered() {
        let mut ended = Ended::default();
        let lease = LeaseId::random();
        ended.remember(lease, ME, Instant::now());
        assert!(!ended.remembers(lease, Identity::Uid(2), Instant::now()));
    }
}
