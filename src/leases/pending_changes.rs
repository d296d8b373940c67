//! What a successor has still to be sent.
//!
//! Pending changes are kept by lease, not by event. A lease that was given and has ended needs no
//! message, and one that was renewed ten times needs one. So a successor that reads slowly misses
//! nothing, and the pending changes take no more memory than the leases that may be open.

use std::collections::HashMap;

use super::{
    id::{ByItself, LeaseId},
    report::{Event, Report},
};
use crate::{identity::Identity, publish::ServerLoad};

/// The most reports of unknown leases that each shard keeps for a successor. With 20,000 requests a
/// second, whose callers pick at the successor and all report here, a shard needs half of it for
/// each second.
const MOST_FOREIGN: usize = 2500;

/// The changes of the leases of one shard that a successor has not been sent.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    changes: HashMap<LeaseId, Change, ByItself>,
    /// The number of `changes` to leases that are not known here.
    foreign: usize,
}

/// All that has to be sent to the successor about one lease.
#[derive(Debug)]
pub(super) enum Change {
    /// It is open, and new to the successor.
    Given(ReportedFacts),
    /// It is open, and started or was renewed.
    Moved(ReportedFacts),
    /// It ended.
    Ended(Box<Ended>),
}

/// What reports contained beside the event.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ReportedFacts {
    pub load: Option<ServerLoad>,
    pub retry: bool,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub identity: Identity,
    pub event: Event,
    pub said: ReportedFacts,
    foreign: bool,
}

impl ReportedFacts {
    fn add(&mut self, report: &Report) {
        self.load = report.load.or(self.load);
        self.retry |= report.retry;
    }
}

impl PendingChanges {
    /// Begins with leases that are open.
    pub(super) fn of(open: impl Iterator<Item = LeaseId>) -> Self {
        let given = open.map(|id| (id, Change::Given(ReportedFacts::default())));
        Self { changes: given.collect(), foreign: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

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

    /// Takes up to `most` of the changes that are asked for: they count as sent from now on.
    pub(super) fn take(
        &mut self,
        most: usize,
        which: impl Fn(&Change) -> bool,
    ) -> impl Iterator<Item = (LeaseId, Change)> {
        let Self { changes, foreign } = self;
        let taken = changes.extract_if(move |_, change| which(change)).take(most);
        taken.inspect(|(_, change)| {
            if let Change::Ended(ended) = change {
                *foreign -= usize::from(ended.foreign);
            }
        })
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
