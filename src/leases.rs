//! Leases: the names by which callers report how their picks went.
//!
//! A lease holds its pick's in-flight count. It ends with a report, by its time, soon after its
//! connection, or if its answer never reached the caller. So a caller that crashes does not count
//! as load for ever, and one that reports twice does not count twice.
//!
//! - A lease is 128 random bits: a caller that can't guess it can't end another caller's request.
//! - Only the identity that got a lease can report it. It may use any connection, since pools of
//!   clients report on other connections than they picked on.
//! - The lock of a shard is held over each change of a lease's entry, its deadline and the memory
//!   of its end. So a report, a renewal and an expiry at the same time can't disagree. There are
//!   sixteen shards, chosen by the lease's own random bits, to keep threads from waiting for each
//!   other.
//! - Nothing polls: [`Leases::run`] sleeps until the earliest deadline, or for ever if there is
//!   none.
//! - A pick that nobody will report has a lease, too. No caller gets its name.

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use smallvec::SmallVec;
use tokio::{sync::Notify, time::Instant};

pub use connection::Connection;
pub use early_reports::AdoptedLease;
use early_reports::EarlyReports;
use expiry::Closing;
use handoff::PendingChanges;
pub use handoff::{HandedLease, Handoff, LeaseEvent};
pub use id::LeaseId;
use owner::Owners;
pub use owner::{Account, LeasePermit, Owner};
pub use tally::{OUTCOMES, Tally};

use crate::{
    identity::Identity,
    publish::{InFlightGuard, Outcome, ServerLoad},
};

mod connection;
mod early_reports;
mod expiry;
mod handoff;
mod id;
mod owner;
mod recently_ended;
mod tally;

/// The time that a lease lives without a report, if the caller names none.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// The longest time that a caller may name.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// A lease lives at most this long after its connection is gone, for a report that is on its way
/// over another one.
pub const AFTER_CONNECTION: Duration = Duration::from_secs(5);

/// A power of two. With two worker threads, two of them rarely need the same of 16 locks.
const SHARDS: usize = 16;

/// The holder of a new lease.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The owner, which may report it.
    pub owner: Arc<Owner>,
    /// The connection that it ends with; None: it ends by report or by its time alone.
    pub connection: Option<Arc<Connection>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub event: Event,
    /// The load of the server, if it reported one.
    pub load: Option<ServerLoad>,
    /// The request was a retry.
    pub retry: bool,
}

/// What a report says about a picked request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The request is over, with the latency if it was timed.
    Ended(Outcome, Option<Duration>),
    /// The request is in flight from now on. The lease lives this long from now.
    Started(Duration),
    /// The request goes on. The lease lives this long from now.
    Renewed(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The report counts now, or counted before.
    Accepted,
    /// Nothing changed. Either this identity never had the lease, or it ended too long ago, or it
    /// has ended and the report is not of an end.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    /// The lease was open, and the report counts.
    Counted,
    /// The lease ended a short while ago.
    Ended,
    /// This identity has no such lease.
    Nothing,
}

pub struct Leases {
    shards: [Mutex<Shard>; SHARDS],
    /// When [`Leases::run`] looks next, in nanoseconds since `start`; `u64::MAX`: no deadline.
    next_look: AtomicU64,
    look_sooner: Notify,
    start: Instant,
    /// Reports that overtook the events of their lease; None if no agent sends events.
    early: Mutex<Option<EarlyReports>>,
    /// The leases of connections that are gone.
    closing: Mutex<VecDeque<Closing>>,
    /// Wakes the task in [`Handoff::events`].
    has_events: Notify,
    /// [`Leases::end_events`] was called: after what is pending now, the successor gets no more events.
    no_more_events: AtomicBool,
    owners: Owners,
}

#[derive(Default)]
struct Shard {
    open: HashMap<LeaseId, OpenLease, id::ByItself>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    /// None while there is no successor.
    pending: Option<PendingChanges>,
}

struct NewLease<'a> {
    permit: LeasePermit,
    held: InFlightGuard,
    in_flight: bool,
    no_report: bool,
    tally: &'a Arc<Tally>,
}

struct OpenLease {
    held: InFlightGuard,
    in_flight: bool,
    no_report: bool,
    permit: LeasePermit,
    connection: Option<Arc<Connection>>,
    deadline: Instant,
    tally: Arc<Tally>,
}

impl Leases {
    /// Makes no lease yet. Leases expire only while [`Leases::run`] is polled.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            next_look: AtomicU64::new(u64::MAX),
            look_sooner: Notify::new(),
            start: Instant::now(),
            early: Mutex::default(),
            closing: Mutex::default(),
            has_events: Notify::new(),
            no_more_events: AtomicBool::new(false),
            owners: Owners::new(),
        })
    }

    /// The owner of this identity. A caller asks once, and keeps it.
    #[must_use]
    pub fn owner(&self, identity: Identity) -> Arc<Owner> {
        self.owners.of(identity)
    }

    /// The number of open leases by identity, the most first.
    #[must_use]
    pub fn holders(&self) -> Vec<(Identity, usize)> {
        self.owners.open()
    }

    /// The accounts of all identities, those with the most expired leases first.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Identity, Account)> {
        self.owners.accounts()
    }

    /// The accounts of identities with expired leases, the most first.
    pub fn forgetful(&self) -> impl Iterator<Item = (Identity, Account)> {
        self.accounts().into_iter().filter(|(_, account)| account.expired > 0)
    }

    /// The most leases that may be open.
    #[must_use]
    pub fn most(&self) -> usize {
        self.owners.most()
    }

    /// Gives a lease for this pick. `in_flight`: it counts already, and needs no
    /// [`Event::Started`].
    pub fn give(
        &self,
        permit: LeasePermit,
        held: InFlightGuard,
        in_flight: bool,
        connection: Option<&Arc<Connection>>,
        ttl: Duration,
        tally: &Arc<Tally>,
    ) -> LeaseId {
        let id = LeaseId::random();
        let given = NewLease { permit, held, in_flight, no_report: false, tally };
        self.insert(id, given, connection, ttl);
        id
    }

    /// Counts a pick that nobody will report in flight for `time`. Then it ends without a
    /// judgement. The caller must not get the name, which is only for [`Leases::withdraw`].
    pub fn count(
        &self,
        permit: LeasePermit,
        held: InFlightGuard,
        time: Duration,
        tally: &Arc<Tally>,
    ) -> LeaseId {
        let id = LeaseId::random();
        let given = NewLease { permit, held, in_flight: true, no_report: true, tally };
        self.insert(id, given, None, time);
        id
    }

    fn insert(
        &self,
        id: LeaseId,
        given: NewLease<'_>,
        connection: Option<&Arc<Connection>>,
        ttl: Duration,
    ) {
        let now = Instant::now();
        let NewLease { permit, held, in_flight, no_report, tally } = given;
        tally.opened();
        if !no_report {
            permit.owner().given(now);
        }
        let insert = |ttl: Duration| {
            let deadline = now + ttl;
            let mut shard = self.shard(id);
            shard.deadlines.insert((deadline, id));
            let open = OpenLease {
                held,
                in_flight,
                no_report,
                permit,
                connection: connection.cloned(),
                deadline,
                tally: Arc::clone(tally),
            };
            shard.open.insert(id, open);
            self.tell(&mut shard, |pending| pending.given(id));
            deadline
        };
        let deadline = match connection {
            Some(connection) => connection
                .bind(id, |closed| insert(if closed { ttl.min(AFTER_CONNECTION) } else { ttl })),
            None => insert(ttl),
        };
        self.look_by(deadline);
    }

    /// Takes a report of `identity` about a lease. The end of a lease that ended lately is accepted
    /// again, because the caller may have lost the answer. A start or a renewal of an ended lease
    /// changes nothing, and returns [`Reported::Unknown`].
    pub fn report(&self, identity: Identity, id: LeaseId, report: &Report) -> Reported {
        let ended = matches!(report.event, Event::Ended(..));
        let accepted = match self.take_report(identity, id, report) {
            LeaseState::Counted => true,
            LeaseState::Ended => ended,
            LeaseState::Nothing => ended && self.report_elsewhere(identity, id, report),
        };
        if accepted { Reported::Accepted } else { Reported::Unknown }
    }

    fn take_report(&self, identity: Identity, id: LeaseId, report: &Report) -> LeaseState {
        let now = Instant::now();
        let mut shard = self.shard(id);
        let is_its = |open: &&mut OpenLease| open.permit.identity() == identity && !open.no_report;
        let Some(open) = shard.open.get_mut(&id).filter(is_its) else {
            // The search through the caller's ended leases takes a moment. No other caller waits for it.
            drop(shard);
            return match self.owners.remembers(identity, id, now) {
                true => LeaseState::Ended,
                false => LeaseState::Nothing,
            };
        };
        if let Some(load) = &report.load {
            open.held.report_load(load);
        }
        if report.retry {
            open.held.retried();
        }
        let ttl = match report.event {
            Event::Ended(outcome, latency) => {
                let Some(open) = shard.remove(id) else { return LeaseState::Nothing };
                let forget_at = open.permit.owner().remember(id, now);
                self.tell(&mut shard, |pending| pending.ended(id, identity, report));
                drop(shard);
                if let Some(due) = forget_at {
                    self.look_by(due);
                }
                open.end(id, outcome, latency);
                return LeaseState::Counted;
            }
            Event::Started(ttl) => {
                if !open.in_flight {
                    open.held.start();
                    open.in_flight = true;
                }
                ttl
            }
            Event::Renewed(ttl) => ttl,
        };
        let deadline = shard.live_until(id, now + ttl);
        self.tell(&mut shard, |pending| pending.moved(id, report));
        drop(shard);
        self.look_by(deadline);
        LeaseState::Counted
    }

    /// Takes the end of a lease that is not known here. It may be a lease of the successor, or one
    /// of an earlier agent that has not sent it yet. Returns whether the report was kept.
    #[cold]
    fn report_elsewhere(&self, identity: Identity, id: LeaseId, report: &Report) -> bool {
        let mut told = false;
        self.tell(&mut self.shard(id), |pending| told = pending.foreign(id, identity, report));
        told || self.keep_early(id, identity, report)
    }

    /// Keeps a change for the successor, if there is one.
    fn tell(&self, shard: &mut Shard, what: impl FnOnce(&mut PendingChanges)) {
        if let Some(pending) = &mut shard.pending {
            what(pending);
            self.has_events.notify_one();
        }
    }

    /// Ends leases whose answer never reached the caller, as if they had not been given.
    pub fn withdraw(&self, ids: &[LeaseId]) {
        for &id in ids {
            let mut shard = self.shard(id);
            let Some(open) = shard.remove(id) else { continue };
            let event = Event::Ended(Outcome::Cancelled, None);
            let report = Report { event, load: None, retry: false };
            let identity = open.permit.identity();
            self.tell(&mut shard, |pending| pending.ended(id, identity, &report));
            drop(shard);
            open.end(id, Outcome::Cancelled, None);
        }
    }

    /// The number of open leases.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).open.len()).sum()
    }

    /// The number of ended leases that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.owners.remembered()
    }

    fn shard(&self, id: LeaseId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[id.low_bits() % SHARDS])
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl Shard {
    fn remove(&mut self, id: LeaseId) -> Option<OpenLease> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }
}

impl OpenLease {
    fn end(mut self, id: LeaseId, outcome: Outcome, latency: Option<Duration>) {
        if let Some(connection) = &self.connection {
            connection.release(id);
        }
        self.tally.ended(outcome);
        // An outcome without a start before it was still a request.
        if !self.in_flight && outcome != Outcome::Cancelled {
            self.held.start();
        }
        self.held.end(outcome, latency);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in one call must not make every later pick panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The leases of an answer that is on its way. If it is dropped before [`Undelivered::delivered`],
/// they end unused.
#[derive(Debug)]
pub struct Undelivered {
    leases: Arc<Leases>,
    ids: SmallVec<[LeaseId; 1]>,
}

impl Undelivered {
    #[must_use]
    pub fn new(leases: Arc<Leases>, ids: impl Into<SmallVec<[LeaseId; 1]>>) -> Self {
        Self { leases, ids: ids.into() }
    }

    /// Keeps the leases: the answer has been handed to the connection.
    pub fn delivered(mut self) {
        self.ids.clear();
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        self.leases.withdraw(&self.ids);
    }
}

#[cfg(test)]
mod tests;
