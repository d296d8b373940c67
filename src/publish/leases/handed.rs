//! Leases that go to a successor.
//!
//! An agent that hands over tells its successor of every open lease, and from then on of all that
//! becomes of leases here: what it still gives, and what is still reported to it. So a caller may
//! report to either of the two, and the successor's counts in flight are true from its first pick.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Event, Holder, Identity, LeaseId, Leases, MAX_TTL, Open, Report, Reported, Tally, lock,
};
use crate::publish::{Held, ServerLoad, Target};

/// What a successor may be behind. A second of 20,000 requests, picked and reported; what does not
/// fit is lost: those leases end by their time.
const BEHIND: usize = 40_000;

/// An open lease, as another agent can take it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Handed {
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
    /// What is left of its life.
    pub ttl: Duration,
}

/// What becomes of leases.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// One more.
    Given(Handed),
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

/// What a successor reads.
pub type Incoming = mpsc::Receiver<News>;

/// The way to a successor.
#[derive(Clone, Debug)]
pub(super) struct Successor(mpsc::Sender<News>);

impl Successor {
    pub(super) fn new() -> (Self, Incoming) {
        let (news, incoming) = mpsc::channel(BEHIND);
        (Self(news), incoming)
    }

    /// Whether it is told.
    pub(super) fn tell(&self, news: News) -> bool {
        self.0.try_send(news).is_ok()
    }
}

/// Reports that overtook the news of their lease. A caller may pick at one agent and report to the
/// other, while the one tells the other of the pick.
#[derive(Debug, Default)]
pub(super) struct Early {
    reports: HashMap<LeaseId, (Identity, Report)>,
}

impl Early {
    /// Whether it is kept: a report of an end, and not more than can be meant.
    pub(super) fn keep(&mut self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        let ended = matches!(report.event, Event::Ended(..));
        let keeps = ended && self.reports.len() < BEHIND;
        if keeps {
            self.reports.insert(id, (identity, report.clone()));
        }
        keeps
    }

    pub(super) fn take(&mut self, id: LeaseId, identity: Identity) -> Option<Report> {
        let (by, report) = self.reports.remove(&id)?;
        (by == identity).then_some(report)
    }
}

impl Leases {
    /// Takes over a lease of an agent before this one; not one that is known here by now.
    pub fn adopt(
        &self,
        id: LeaseId,
        held: Held,
        in_flight: bool,
        identity: Identity,
        ttl: Duration,
        tally: &Arc<Tally>,
    ) {
        let mut shard = self.shard(id);
        let known =
            shard.open.contains_key(&id) || shard.ended.remembers(id, identity, Instant::now());
        drop(shard);
        if known {
            return;
        }
        // Who has too many open has them from both agents together.
        let Ok(permit) = self.permit(identity) else { return };
        let holder = Holder { identity, connection: None };
        self.insert(permit, id, held, in_flight, &holder, ttl.min(MAX_TTL), tally);
        self.tell_given(id);
        let early = lock(&self.early).as_mut().and_then(|early| early.take(id, identity));
        if let Some(report) = early {
            self.report(identity, id, &report);
        }
    }

    /// Whether an agent before this one may still tell of leases: until then a report of one that
    /// is not known here may be ahead of the news.
    pub fn expect_news(&self, expected: bool) {
        *lock(&self.early) = expected.then(Early::default);
    }

    /// From now on a successor is told of all that becomes of leases; gives those open now.
    pub fn hand_over(&self) -> (Vec<Handed>, Incoming) {
        let (successor, incoming) = Successor::new();
        // First the news, then what is: a lease may be told twice, never not at all.
        self.successor.store(Some(Arc::new(successor)));
        let now = Instant::now();
        let mut open = Vec::new();
        for shard in &self.shards {
            open.extend(lock(shard).open.iter().map(|(id, open)| open.handed(*id, now)));
        }
        (open, incoming)
    }

    /// There is no successor after all.
    pub fn keep(&self) {
        self.successor.store(None);
    }

    #[cold]
    pub(super) fn keep_early(&self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        let mut early = lock(&self.early);
        let Some(early) = &mut *early else { return false };
        // Under this lock: news that is taken in meanwhile finds it, or is found.
        self.take_report(identity, id, report) == Reported::Accepted
            || early.keep(id, identity, report)
    }

    /// Tells a successor of a lease, after it is open: who began to listen just before has it from
    /// here, and who did just after finds it among the open ones.
    pub(super) fn tell_given(&self, id: LeaseId) {
        if let Some(successor) = &*self.successor.load() {
            let shard = self.shard(id);
            if let Some(open) = shard.open.get(&id) {
                successor.tell(News::Given(open.handed(id, Instant::now())));
            }
        }
    }

    /// Whether a successor is told of this report.
    pub(super) fn tell_of(&self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        self.successor.load().as_ref().is_some_and(|successor| {
            let Report { event, load, retry } = *report;
            successor.tell(News::Reported { id, identity, event, load, retry })
        })
    }
}

impl Open {
    fn handed(&self, id: LeaseId, now: Instant) -> Handed {
        Handed {
            id,
            identity: self.holder.identity,
            target: self.held.target().clone(),
            address: self.held.endpoint.address,
            cost: self.held.cost(),
            in_flight: self.in_flight,
            ttl: self.deadline.saturating_duration_since(now),
        }
    }
}
