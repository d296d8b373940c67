//! Leases that go to a successor.
//!
//! An agent that hands over tells its successor of every open lease, and from then on of all that
//! becomes of leases here: what it still gives, and what is still reported to it. So a caller may
//! report to either of the two, and the successor's counts in flight are true from its first pick.
//!
//! What a successor has not been told yet is kept by lease, not by event: a lease that was given and
//! has ended needs no word, and one that was renewed ten times needs one. So a successor that
//! listens slowly misses nothing, and costs no more memory than the leases that there may be.

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

/// Reports of leases that are not known here, kept for a successor: in each shard. In a second of
/// 20,000 requests, whose callers pick at the successor and all report here, a shard has half of it.
const MOST_FOREIGN: usize = 2500;

/// An open lease, as another agent can take it over.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedLease {
    /// Its name.
    pub id: LeaseId,
    /// Whose it is.
    pub identity: Identity,
    /// Where it was picked.
    pub target: Target,
    /// What was picked.
    pub address: SocketAddr,
    /// What it counts.
    pub cost: u32,
    /// It counts already.
    pub in_flight: bool,
    /// Nobody will report it: it was never told to its caller.
    pub no_report: bool,
    /// What is left of its life.
    pub ttl: Duration,
}

/// What becomes of leases.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseEvent {
    /// One more.
    Given(HandedLease),
    /// A report of it.
    Reported {
        /// Which.
        id: LeaseId,
        /// By whom.
        identity: Identity,
        /// What happened.
        event: Event,
        /// The server's own load, where it told.
        load: Option<ServerLoad>,
        /// The request was a retry.
        retry: bool,
    },
}

/// The way of all leases to a successor; without it, nothing is kept to be told any more.
#[derive(Debug)]
pub struct Handoff {
    leases: Arc<Leases>,
    /// Shards whose open leases have been told.
    told: usize,
}

impl Handoff {
    /// Up to so many of the leases that are open; none: those were all.
    pub fn open(&mut self, most: usize) -> Vec<HandedLease> {
        let mut open = Vec::new();
        while self.told < SHARDS && open.len() < most {
            let mut news = Vec::new();
            let room = most - open.len();
            let given = |change: &Change| matches!(change, Change::Given(_));
            lock(&self.leases.shards[self.told]).take_untold(room, given, &mut news);
            if news.len() < room {
                self.told += 1;
            }
            open.extend(news.into_iter().filter_map(|news| match news {
                LeaseEvent::Given(lease) => Some(lease),
                LeaseEvent::Reported { .. } => None,
            }));
        }
        open
    }

    /// What became of leases since the last time, some of it at a time; none, once there is no more
    /// and [`Leases::end_news`] said that there will be none.
    pub async fn news(&mut self, most: usize) -> Option<Vec<LeaseEvent>> {
        loop {
            // Before the look, so that what comes after it is not missed.
            let ending = self.leases.no_more_news.load(Ordering::SeqCst);
            let mut news = Vec::new();
            for shard in &self.leases.shards {
                if news.len() < most {
                    lock(shard).take_untold(most - news.len(), |_| true, &mut news);
                }
            }
            if !news.is_empty() {
                return Some(news);
            }
            if ending {
                return None;
            }
            self.leases.has_news.notified().await;
        }
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        for shard in &self.leases.shards {
            lock(shard).untold = None;
        }
    }
}

impl Leases {
    /// From now on all that becomes of leases is kept for a successor, beginning with those that are
    /// open.
    pub fn hand_over(self: &Arc<Self>) -> Handoff {
        self.no_more_news.store(false, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = lock(shard);
            let open = shard.open.keys().map(|id| (*id, Change::Given(ReportedFacts::default())));
            shard.untold = Some(PendingChanges { changes: open.collect(), foreign: 0 });
        }
        Handoff { leases: Arc::clone(self), told: 0 }
    }

    /// There will be no more news: [`Handoff::news`] ends with what there is by now.
    pub fn end_news(&self) {
        self.no_more_news.store(true, Ordering::SeqCst);
        self.has_news.notify_one();
    }

    /// Leases of which a successor has not been told all.
    pub fn untold(&self) -> usize {
        let shards = self.shards.iter();
        shards.filter_map(|shard| Some(lock(shard).untold.as_ref()?.changes.len())).sum()
    }

    /// Whether an agent before this one may still tell of leases: until then a report of one that
    /// is not known here may be ahead of the news.
    pub fn expect_news(&self, expected: bool) {
        *lock(&self.early) = expected.then(EarlyReports::default);
    }
}

/// What a successor has not been told of the leases of one shard.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    changes: HashMap<LeaseId, Change, ByItself>,
    /// Of them those of leases that are not known here.
    foreign: usize,
}

/// All that the successor has to hear of one lease.
#[derive(Debug)]
enum Change {
    /// That it is there. It is open.
    Given(ReportedFacts),
    /// That it started or was renewed. It is open.
    Moved(ReportedFacts),
    /// That it ended.
    Ended(Box<Ended>),
}

/// What reports said beside the event.
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

    /// An open lease started or was renewed.
    pub(super) fn moved(&mut self, id: LeaseId, report: &Report) {
        let change =
            self.changes.entry(id).or_insert_with(|| Change::Moved(ReportedFacts::default()));
        if let Change::Given(said) | Change::Moved(said) = change {
            said.add(report);
        }
    }

    /// An open lease ended by this report.
    pub(super) fn ended(&mut self, id: LeaseId, identity: Identity, report: &Report) {
        let mut said = ReportedFacts::default();
        match self.changes.remove(&id) {
            // The successor never heard of it.
            Some(Change::Given(_)) => return,
            Some(Change::Moved(before)) => said = before,
            Some(Change::Ended(_)) | None => {}
        }
        said.add(report);
        let ended = Ended { identity, event: report.event, said, foreign: false };
        self.changes.insert(id, Change::Ended(Box::new(ended)));
    }

    /// An open lease ended by its time, as it does at the successor.
    pub(super) fn expired(&mut self, id: LeaseId) {
        self.changes.remove(&id);
    }

    /// The end of a lease that only the successor may know; whether it will be told.
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

    /// The end of a lease that turns out to be known here: [`Self::foreign`] was wrong.
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
    /// Some of what a successor has not been told: from now on it has.
    fn take_untold(
        &mut self,
        most: usize,
        which: impl Fn(&Change) -> bool,
        news: &mut Vec<LeaseEvent>,
    ) {
        let Some(untold) = &mut self.untold else { return };
        let now = Instant::now();
        for (id, change) in untold.changes.extract_if(|_, change| which(change)).take(most) {
            match change {
                Change::Given(said) => {
                    let Some(open) = self.open.get(&id) else { continue };
                    news.push(LeaseEvent::Given(open.handed(id, now)));
                    if said != ReportedFacts::default() {
                        news.push(open.moved(id, said, now));
                    }
                }
                Change::Moved(said) => {
                    let Some(open) = self.open.get(&id) else { continue };
                    news.push(open.moved(id, said, now));
                }
                Change::Ended(ended) => {
                    untold.foreign -= usize::from(ended.foreign);
                    let Ended { identity, event, said: ReportedFacts { load, retry }, .. } = *ended;
                    news.push(LeaseEvent::Reported { id, identity, event, load, retry });
                }
            }
        }
    }
}

impl OpenLease {
    fn handed(&self, id: LeaseId, now: Instant) -> HandedLease {
        HandedLease {
            id,
            identity: self.right.identity(),
            target: self.held.target().clone(),
            address: self.held.endpoint.address,
            cost: self.held.cost(),
            in_flight: self.in_flight,
            no_report: self.no_report,
            ttl: self.deadline.saturating_duration_since(now),
        }
    }

    /// A report that leaves it at the successor as it is here.
    fn moved(&self, id: LeaseId, said: ReportedFacts, now: Instant) -> LeaseEvent {
        let ttl = self.deadline.saturating_duration_since(now);
        let event = if self.in_flight { Event::Started(ttl) } else { Event::Renewed(ttl) };
        let ReportedFacts { load, retry } = said;
        LeaseEvent::Reported { id, identity: self.right.identity(), event, load, retry }
    }
}
