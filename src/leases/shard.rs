//! A shard of the leases: those that are open, their deadlines, and what the successor has still to
//! be sent of them. They change together, under the shard's lock.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::{
    id::{ByItself, LeaseId},
    lease_event::LeaseEvent,
    open_lease::OpenLease,
    pending_changes::{Change, Ended, PendingChanges, ReportedFacts},
};

/// A power of two. With two worker threads, two of them rarely need the same of 16 locks.
pub(super) const SHARDS: usize = 16;

#[derive(Default)]
pub(super) struct Shard {
    pub open: HashMap<LeaseId, OpenLease, ByItself>,
    pub deadlines: BTreeSet<(Instant, LeaseId)>,
    /// None while there is no successor.
    pub pending: Option<PendingChanges>,
}

impl Shard {
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<OpenLease> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }

    /// Moves the deadline of an open lease. If its connection is gone, the deadline can only become
    /// earlier.
    pub(super) fn live_until(&mut self, id: LeaseId, deadline: Instant) -> Instant {
        let Some(open) = self.open.get_mut(&id) else { return deadline };
        let gone = open.connection.as_ref().is_some_and(|connection| connection.is_closed());
        let deadline = if gone { deadline.min(open.deadline) } else { deadline };
        self.deadlines.remove(&(open.deadline, id));
        open.deadline = deadline;
        self.deadlines.insert((deadline, id));
        deadline
    }

    /// Takes up to `most` of the leases that are due.
    pub(super) fn take_due(&mut self, now: Instant, most: usize) -> Vec<(LeaseId, OpenLease)> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(open) = self.open.remove(&id) {
                if let Some(pending) = &mut self.pending {
                    pending.expired(id);
                }
                // The ends of other leases are not remembered: their callers have no name to
                // report.
                if !open.no_report {
                    // The step that ends the lease asks when its end may be forgotten.
                    open.permit.owner().remember(id, now);
                    open.permit.owner().expired(now);
                }
                due.push((id, open));
            }
        }
        due
    }

    /// Takes some of the pending changes: they count as sent from now on.
    pub(super) fn take_pending(
        &mut self,
        most: usize,
        which: impl Fn(&Change) -> bool,
        events: &mut Vec<LeaseEvent>,
    ) {
        let Some(pending) = &mut self.pending else { return };
        let now = Instant::now();
        for (id, change) in pending.take(most, which) {
            match change {
                Change::Given(said) => {
                    let Some(open) = self.open.get(&id) else { continue };
                    events.push(LeaseEvent::Given(open.handed(id, now)));
                    if said != ReportedFacts::default() {
                        events.push(open.moved(id, said, now));
                    }
                }
                Change::Moved(said) => {
                    let Some(open) = self.open.get(&id) else { continue };
                    events.push(open.moved(id, said, now));
                }
                Change::Ended(ended) => {
                    let Ended { identity, event, said: ReportedFacts { load, retry }, .. } = *ended;
                    events.push(LeaseEvent::Reported { id, identity, event, load, retry });
                }
            }
        }
    }
}
