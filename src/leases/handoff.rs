//! Hands leases over to a successor.
//!
//! An agent that hands over sends its successor every open lease. From then on it sends every lease
//! it still grants and every report it still receives. So a caller may report to either of the two,
//! and the successor's counts in flight are right from its first pick.
//!
//! Pending changes are kept by lease, not by event. A lease that was given and has ended needs no
//! message, and one that was renewed ten times needs one. So a successor that reads slowly misses
//! nothing, and the pending changes take no more memory than the leases that may be open.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Event, Identity, LeaseId, Leases, OpenLease, Report, SHARDS, Shard,
    early_reports::EarlyReports, id::ByItself, lock,
};
use crate::publish::{ServerLoad, Target};

/// The most reports of unknown leases that each shard keeps for a successor. With 20,000 requests a
/// second, whose callers pick at the successor and all report here, a shard needs half of it for
/// each second.
const MOST_FOREIGN: usize = 2500;

/// An open lease, as another agent takes it over.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedLease {
    pub id: LeaseId,
    /// The identity that has it.
    pub identity: Identity,
    /// The target it was picked from.
    pub target: Target,
    /// The picked endpoint.
    pub address: SocketAddr,
    pub cost: u32,
    pub in_flight: bool,
    /// Nobody will report it, because its caller never got its name.
    pub no_report: bool,
    /// The time until its deadline.
    pub ttl: Duration,
}

/// A change of a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseEvent {
    /// A new lease.
    Given(HandedLease),
    /// A report about a lease.
    Reported {
        id: LeaseId,
        /// The identity that reported.
        identity: Identity,
        event: Event,
        /// The load of the server, if it reported one.
        load: Option<ServerLoad>,
        /// The request was a retry.
        retry: bool,
    },
}

/// The handoff to a successor. When it is dropped, changes are no longer kept.
#[derive(Debug)]
pub struct Handoff {
    leases: Arc<Leases>,
    /// The number of shards whose open leases have been sent.
    shards_sent: usize,
}

impl Handoff {
    /// Up to `most` of the open leases; an empty list after the last one.
    pub fn open(&mut self, most: usize) -> Vec<HandedLease> {
        let mut open = Vec::new();
        while self.shards_sent < SHARDS && open.len() < most {
            let mut events = Vec::new();
            let room = most - open.len();
            let given = |change: &Change| matches!(change, Change::Given(_));
            lock(&self.leases.shards[self.shards_sent]).take_pending(room, given, &mut events);
            if events.len() < room {
                self.shards_sent += 1;
            }
            open.extend(events.into_iter().filter_map(|event| match event {
                LeaseEvent::Given(lease) => Some(lease),
                LeaseEvent::Reported { .. } => None,
            }));
        }
        open
    }

    /// Up to about `most` changes since the last call; None once there are no more and
    /// [`Leases::end_events`] was called.
    pub async fn events(&mut self, most: usize) -> Option<Vec<LeaseEvent>> {
        loop {
            // Read before the shards: a change that comes after the read is not missed.
            let ending = self.leases.no_more_events.load(Ordering::SeqCst);
            let mut events = Vec::new();
            for shard in &self.leases.shards {
                if events.len() < most {
                    lock(shard).take_pending(most - events.len(), |_| true, &mut events);
                }
            }
            if !events.is_empty() {
                return Some(events);
            }
            if ending {
                return None;
            }
            self.leases.has_events.notified().await;
        }
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        for shard in &self.leases.shards {
            lock(shard).pending = None;
        }
    }
}

impl Leases {
    /// Keeps all changes of leases for a successor from now on, beginning with the open leases.
    pub fn hand_over(self: &Arc<Self>) -> Handoff {
        self.no_more_events.store(false, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = lock(shard);
            let open = shard.open.keys().map(|id| (*id, Change::Given(ReportedFacts::default())));
            shard.pending = Some(PendingChanges { changes: open.collect(), foreign: 0 });
        }
        Handoff { leases: Arc::clone(self), shards_sent: 0 }
    }

    /// Ends the events: [`Handoff::events`] returns what is pending now, and then None.
    pub fn end_events(&self) {
        self.no_more_events.store(true, Ordering::SeqCst);
        self.has_events.notify_one();
    }

    /// The number of leases with changes that the successor has not been sent.
    pub fn pending_changes(&self) -> usize {
        let shards = self.shards.iter();
        shards.filter_map(|shard| Some(lock(shard).pending.as_ref()?.changes.len())).sum()
    }

    /// Sets whether an earlier agent may still send leases. While it may, a report about an unknown
    /// lease may have overtaken the events of it.
    pub fn expect_events(&self, expected: bool) {
        *lock(&self.early) = expected.then(EarlyReports::default);
    }
}

/// The changes of the leases of one shard that a successor has not been sent.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    changes: HashMap<LeaseId, Change, ByItself>,
    /// The number of `changes` to leases that are not known here.
    foreign: usize,
}

/// All that has to be sent to the successor about one lease.
#[derive(Debug)]
enum Change {
    /// It is open, and new to the successor.
    Given(ReportedFacts),
    /// It is open, and started or was renewed.
    Moved(ReportedFacts),
    /// It ended.
    Ended(Box<Ended>),
}

/// What reports contained beside the event.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ReportedFacts {
    load: Option<ServerLoad>,
    retry: bool,
}

#[derive(Debug)]
struct Ended {
    identity: Identity,
    event: Event,
    said: ReportedFacts,
    foreign: bool,
}

impl ReportedFacts {
    fn add(&mut self, report: &Report) {
        self.load = report.load.or(self.load);
        self.retry |= report.retry;
    }
}

impl PendingChanges {
    pub(super) fn given(&mut self, id: LeaseId) {
        self.changes.insert(id, Change::Given(ReportedFacts::default()));
    }

    pub(super) fn moved(&mut self, id: LeaseId, report: &Report) {
        let change =
            self.changes.entry(id).or_insert_with(|| Change::Moved(ReportedFacts::default()));
        if let Change::Given(said) | Change::Moved(said) = change {
            said.add(report);
        }
    }

    pub(super) fn ended(&mut self, id: LeaseId, identity: Identity, report: &Report) {
        let mut said = ReportedFacts::default();
        match self.changes.remove(&id) {
            // The successor never got it.
            Some(Change::Given(_)) => return,
            Some(Change::Moved(before)) => said = before,
            Some(Change::Ended(_)) | None => {}
        }
        said.add(report);
        let ended = Ended { identity, event: report.event, said, foreign: false };
        self.changes.insert(id, Change::Ended(Box::new(ended)));
    }

    /// An open lease expired. It expires at the successor, too.
    pub(super) fn expired(&mut self, id: LeaseId) {
        self.changes.remove(&id);
    }

    /// Keeps the end of a lease that only the successor may know. Returns whether it will be sent.
    pub(super) fn foreign(&mut self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        if self.changes.contains_key(&id) {
            return true;
        }
        if self.foreign >= MOST_FOREIGN {
            return false;
        }
        let mut said = ReportedFacts::default();
        said.add(report);
        let ended = Ended { identity, event: report.event, said, foreign: true };
        self.changes.insert(id, Change::Ended(Box::new(ended)));
        self.foreign += 1;
        true
    }

    /// Takes the end of a lease that turns out to be known here, though [`Self::foreign`] kept it.
    pub(super) fn take_foreign(&mut self, id: LeaseId, identity: Identity) -> Option<Report> {
        let is_its =
            |change: &Change| matches!(change, Change::Ended(its) if its.identity == identity);
        if !self.changes.get(&id).is_some_and(is_its) {
            return None;
        }
        let Some(Change::Ended(ended)) = self.changes.remove(&id) else { return None };
        self.foreign -= usize::from(ended.foreign);
        let ReportedFacts { load, retry } = ended.said;
        Some(Report { event: ended.event, load, retry })
    }
}

impl Shard {
    /// Takes some of the pending changes: they count as sent from now on.
    fn take_pending(
        &mut self,
        most: usize,
        which: impl Fn(&Change) -> bool,
        events: &mut Vec<LeaseEvent>,
    ) {
        let Some(pending) = &mut self.pending else { return };
        let now = Instant::now();
        for (id, change) in pending.changes.extract_if(|_, change| which(change)).take(most) {
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
                    pending.foreign -= usize::from(ended.foreign);
                    let Ended { identity, event, said: ReportedFacts { load, retry }, .. } = *ended;
                    events.push(LeaseEvent::Reported { id, identity, event, load, retry });
                }
            }
        }
    }
}

impl OpenLease {
    fn handed(&self, id: LeaseId, now: Instant) -> HandedLease {
        HandedLease {
            id,
            identity: self.permit.identity(),
            target: self.held.target().clone(),
            address: self.held.endpoint.address,
            cost: self.held.cost(),
            in_flight: self.in_flight,
            no_report: self.no_report,
            ttl: self.deadline.saturating_duration_since(now),
        }
    }

    /// A report that brings the lease at the successor into its state here.
    fn moved(&self, id: LeaseId, said: ReportedFacts, now: Instant) -> LeaseEvent {
        let ttl = self.deadline.saturating_duration_since(now);
        let event = if self.in_flight { Event::Started(ttl) } else { Event::Renewed(ttl) };
        let ReportedFacts { load, retry } = said;
        LeaseEvent::Reported { id, identity: self.permit.identity(), event, load, retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Outcome;

    #[test]
    fn an_end_that_is_taken_back_leaves_room_for_another() {
        let mut pending = PendingChanges::default();
        let event = Event::Ended(Outcome::Success, None);
        let report = Report { event, load: None, retry: false };
        let me = Identity::Uid(1);
        let kept: Vec<LeaseId> = (0..MOST_FOREIGN).map(|_| LeaseId::random()).collect();
        assert!(kept.iter().all(|id| pending.foreign(*id, me, &report)));
        assert!(pending.foreign(kept[0], me, &report), "it is kept already");
        let next = LeaseId::random();
        assert!(!pending.foreign(next, me, &report));
        assert_eq!(pending.take_foreign(kept[0], Identity::Uid(2)), None, "it is another's");
        assert_eq!(pending.take_foreign(kept[0], me), Some(report.clone()));
        assert!(pending.foreign(next, me, &report));
        assert!(!pending.foreign(LeaseId::random(), me, &report));
    }
}
