//! Takes over leases of an earlier agent, and keeps reports that overtake the events of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Event, Identity, LeaseId, LeaseState, Leases, MAX_TTL, NewLease, Report, Tally, lock};
use crate::{
    publish::InFlightGuard,
    quota::{Permit, Quota},
};

/// The most reports that are kept until their leases arrive, three quarters of them of one
/// caller. Beyond it a report is answered as unknown.
const MOST: usize = 40_000;

/// Reports that overtook the events of their lease. A caller may pick at one agent and report to the
/// other one before the first one has sent the lease.
#[derive(Debug)]
pub(super) struct EarlyReports {
    reports: HashMap<LeaseId, (Identity, Report, Permit<Identity>)>,
    quota: Arc<Quota<Identity>>,
}

impl Default for EarlyReports {
    fn default() -> Self {
        Self { reports: HashMap::new(), quota: Quota::new("early reports", MOST) }
    }
}

impl EarlyReports {
    /// Keeps the report of an end, if the quota has room. Returns whether it did.
    fn keep(&mut self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        if !matches!(report.event, Event::Ended(..)) {
            return false;
        }
        let Ok(permit) = self.quota.take(identity) else { return false };
        self.reports.insert(id, (identity, report.clone(), permit));
        true
    }

    fn take(&mut self, id: LeaseId, identity: Identity) -> Option<Report> {
        let (by, report, _) = self.reports.remove(&id)?;
        (by == identity).then_some(report)
    }
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

    #[cold]
    pub(super) fn keep_early(&self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        let mut early = lock(&self.early);
        let Some(early) = &mut *early else { return false };
        // The lock stays held: a lease that is taken over at the same time either finds the report,
        // or is found here.
        self.take_report(identity, id, report) != LeaseState::Nothing
            || early.keep(id, identity, report)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Outcome;

    #[test]
    fn who_makes_reports_up_leaves_room_for_another_s() {
        let mut early = EarlyReports::default();
        let event = Event::Ended(Outcome::Success, None);
        let end = Report { event, load: None, retry: false };
        let made_up =
            (0..2 * MOST).filter(|_| early.keep(LeaseId::random(), Identity::Uid(1), &end));
        assert_eq!(made_up.count(), MOST / 4 * 3);
        let id = LeaseId::random();
        assert!(early.keep(id, Identity::Uid(2), &end));
        assert!(early.take(id, Identity::Uid(2)).is_some());
        assert!(early.keep(id, Identity::Uid(2), &end), "its place is given back");
    }
}
