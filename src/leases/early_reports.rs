//! Keeps reports that overtake the events of their lease.

use std::{collections::HashMap, sync::Arc};

use super::{
    id::LeaseId,
    report::{Event, Report},
};
use crate::{
    identity::Identity,
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
    pub(super) fn keep(&mut self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        if !matches!(report.event, Event::Ended(..)) {
            return false;
        }
        let Ok(permit) = self.quota.take(identity) else { return false };
        self.reports.insert(id, (identity, report.clone(), permit));
        true
    }

    /// Takes what the holder of a lease reported about it, now that the lease is here.
    pub(super) fn take(&mut self, id: LeaseId, identity: Identity) -> Option<Report> {
        let (by, report, _) = self.reports.remove(&id)?;
        (by == identity).then_some(report)
    }
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
