//! Takes over leases of an earlier agent.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    early_reports::EarlyReports,
    id::LeaseId,
    lock::lock,
    registry::{Leases, MAX_TTL, NewLease},
    tally::Tally,
};
use crate::{identity::Identity, publish::InFlightGuard};

/// What an earlier agent sent about a lease.
#[derive(Clone, Copy, Debug)]
pub struct AdoptedLease<'a> {
    pub in_flight: bool,
    pub no_report: bool,
    /// The time until its deadline.
    pub ttl: Duration,
    /// The tally of its service.
    pub tally: &'a Arc<Tally>,
}

impl Leases {
    /// Takes over a lease of an earlier agent, unless it is known here already. Returns whether it
    /// is known here now. It is not if its holder has too many, at both agents together.
    pub fn adopt(
        &self,
        id: LeaseId,
        held: InFlightGuard,
        identity: Identity,
        adopted: AdoptedLease<'_>,
    ) -> bool {
        let mut shard = self.shard(id);
        let open = shard.open.contains_key(&id);
        // This agent may have kept an end for its own successor, because it did not know the lease.
        let ended = shard.pending.as_mut().and_then(|pending| pending.take_foreign(id, identity));
        drop(shard);
        if open || self.owners.remembers(identity, id, Instant::now()) {
            return true;
        }
        let Ok(permit) = self.owner(identity).permit(held.cost()) else { return false };
        let AdoptedLease { in_flight, no_report, ttl, tally } = adopted;
        let given = NewLease { permit, held, in_flight, no_report, tally };
        self.insert(id, given, None, ttl.min(MAX_TTL));
        let early = lock(&self.early).as_mut().and_then(|early| early.take(id, identity));
        if let Some(report) = early.or(ended) {
            self.report(identity, id, &report);
        }
        true
    }

    /// Sets whether an earlier agent may still send leases. While it may, a report about an unknown
    /// lease may have overtaken the events of it.
    pub fn expect_events(&self, expected: bool) {
        *lock(&self.early) = expected.then(EarlyReports::default);
    }
}
