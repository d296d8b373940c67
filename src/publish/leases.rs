//! Leases: the names by which callers say how their picks went.
//!
//! A lease holds its pick's in-flight count until it is reported, its time is over, its connection
//! is gone, or its answer turns out never to have reached the caller. A caller that crashes must
//! not count as load for ever, and one that reports twice must not count twice.
//!
//! - A lease is 128 random bits: whoever can't guess it can't end another's request.
//! - It is known to its identity only, on any connection, since clients' pools report on others
//!   than they picked on.
//! - One lock guards a lease's entry, its deadline and its memory after the end, so that a report,
//!   a renewal and an expiry at the same time can't disagree. Sixteen of them, chosen by the
//!   lease's own random bits, keep threads apart.
//! - Nothing ticks: [`Leases::run`] sleeps until the earliest deadline there is, or for ever.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use tokio::{sync::Notify, time::Instant};

pub use connection::Connection;
use handed::{Early, Successor};
pub use handed::{Handed, Incoming, News};
pub use id::LeaseId;
use memory::Ended;
pub use tally::{OUTCOMES, Tally};

pub use crate::identity::Identity;

use super::{Held, Outcome, ServerLoad};
use crate::quota::{Exhausted, Permit, Quota};

mod connection;
pub mod handed;
mod id;
mod memory;
mod tally;

/// A lease's life without a report, where the caller names none.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// The longest life a caller may name.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// A lease bound to a connection outlives it by this, for a report already on its way elsewhere.
pub const AFTER_CONNECTION: Duration = Duration::from_secs(5);

/// Open ones of all callers. At 300 bytes each they take 75 MiB at the most; a node with 20,000
/// requests a second of half a second each has 10,000.
const MOST: usize = 1 << 18;

/// A power of two; with two worker threads a clash of locks is rare at 16.
const SHARDS: usize = 16;

/// Whose a new lease is.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who may report it.
    pub identity: Identity,
    /// The connection it ends with; none: it ends by report or by its time alone.
    pub connection: Option<Arc<Connection>>,
}

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What happened.
    pub event: Event,
    /// The server's own load, where it told.
    pub load: Option<ServerLoad>,
    /// The request was a retry.
    pub retry: bool,
}

/// What happened to a picked request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// It is over.
    Ended(Outcome, Option<Duration>),
    /// It is in flight from now on; the lease lives this long from now.
    Started(Duration),
    /// It goes on; the lease lives this long from now.
    Renewed(Duration),
}

/// Whether a report found its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Counted, or counted before.
    Accepted,
    /// Never given to this identity, or ended too long ago.
    Unknown,
}

/// All open leases and those that ended a short while ago.
pub struct Leases {
    shards: [Mutex<Shard>; SHARDS],
    /// When [`Leases::run`] looks next, in nanoseconds since `start`; `u64::MAX`: never.
    next_look: AtomicU64,
    look_sooner: Notify,
    start: Instant,
    /// Reports that overtook the news of their lease; while there may be news.
    early: Mutex<Option<Early>>,
    /// Who is told of all leases, once this agent hands over.
    successor: ArcSwapOption<Successor>,
    quota: Arc<Quota<Identity>>,
}

#[derive(Default)]
struct Shard {
    open: HashMap<LeaseId, Open, id::ByItself>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    ended: Ended,
}

struct Open {
    held: Held,
    in_flight: bool,
    holder: Holder,
    deadline: Instant,
    tally: Arc<Tally>,
    _permit: Permit<Identity>,
}

impl Leases {
    /// None yet. Expiry needs [`Leases::run`] to be polled.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            next_look: AtomicU64::new(u64::MAX),
            look_sooner: Notify::new(),
            start: Instant::now(),
            early: Mutex::default(),
            successor: ArcSwapOption::empty(),
            quota: Quota::new("leases", MOST),
        })
    }

    /// The right to a lease.
    ///
    /// # Errors
    /// This identity, or all of them, have too many open.
    pub fn permit(&self, identity: Identity) -> Result<Permit<Identity>, Exhausted> {
        self.quota.take(identity)
    }

    /// Whose they are, and how many there may be.
    #[must_use]
    pub fn quota(&self) -> &Quota<Identity> {
        &self.quota
    }

    /// A lease for this pick. `in_flight`: it counts already, and needs no [`Event::Started`].
    pub fn give(
        &self,
        permit: Permit<Identity>,
        held: Held,
        in_flight: bool,
        holder: &Holder,
        ttl: Duration,
        tally: &Arc<Tally>,
    ) -> LeaseId {
        let id = LeaseId::random();
        self.insert(permit, id, held, in_flight, holder, ttl, tally);
        self.tell_given(id);
        id
    }

    #[expect(clippy::too_many_arguments, reason = "all that a lease is made of")]
    fn insert(
        &self,
        permit: Permit<Identity>,
        id: LeaseId,
        held: Held,
        in_flight: bool,
        holder: &Holder,
        ttl: Duration,
        tally: &Arc<Tally>,
    ) {
        let now = Instant::now();
        let insert = |ttl: Duration| {
            let deadline = now + ttl;
            let mut shard = self.shard(id);
            shard.deadlines.insert((deadline, id));
            let open = Open {
                held,
                in_flight,
                holder: holder.clone(),
                deadline,
                tally: Arc::clone(tally),
                _permit: permit,
            };
            shard.open.insert(id, open);
            deadline
        };
        let deadline = match &holder.connection {
            Some(connection) => connection
                .bind(id, |closed| insert(if closed { ttl.min(AFTER_CONNECTION) } else { ttl })),
            None => insert(ttl),
        };
        self.look_by(deadline);
    }

    /// Takes a report of `identity` about a lease.
    pub fn report(&self, identity: Identity, id: LeaseId, report: &Report) -> Reported {
        let known = self.take_report(identity, id, report);
        // After it counts here: a successor that does not hear of it now finds it counted.
        let told = self.tell_of(id, identity, report);
        // A lease that only the successor knows may well be reported to who went before it.
        match known == Reported::Accepted || told || self.keep_early(id, identity, report) {
            true => Reported::Accepted,
            false => Reported::Unknown,
        }
    }

    fn take_report(&self, identity: Identity, id: LeaseId, report: &Report) -> Reported {
        let now = Instant::now();
        let mut shard = self.shard(id);
        let Some(open) = shard.open.get_mut(&id).filter(|open| open.holder.identity == identity)
        else {
            return match shard.ended.remembers(id, identity, now) {
                true => Reported::Accepted,
                false => Reported::Unknown,
            };
        };
        if let Some(load) = &report.load {
            open.held.report_load(load);
        }
        if report.retry {
            open.held.retried();
        }
        match report.event {
            Event::Ended(outcome, latency) => {
                let Some(open) = shard.remove(id) else { return Reported::Unknown };
                let remembered_from = shard.ended.remember(id, identity, now);
                drop(shard);
                if let Some(first) = remembered_from {
                    self.look_by(first);
                }
                open.end(id, outcome, latency);
            }
            Event::Started(ttl) => {
                if !open.in_flight {
                    open.held.start();
                    open.in_flight = true;
                }
                let deadline = shard.live_until(id, now + ttl);
                drop(shard);
                self.look_by(deadline);
            }
            Event::Renewed(ttl) => {
                let deadline = shard.live_until(id, now + ttl);
                drop(shard);
                self.look_by(deadline);
            }
        }
        Reported::Accepted
    }

    /// Ends leases whose answer never reached the caller, as if they had not been given.
    pub fn withdraw(&self, ids: &[LeaseId]) {
        for &id in ids {
            let open = self.shard(id).remove(id);
            if let Some(open) = open {
                let event = Event::Ended(Outcome::Cancelled, None);
                let report = Report { event, load: None, retry: false };
                self.tell_of(id, open.holder.identity, &report);
                open.end(id, Outcome::Cancelled, None);
            }
        }
    }

    /// Lets the leases of a connection that is gone live for [`AFTER_CONNECTION`] at most.
    pub fn close(&self, connection: &Connection) {
        let latest = Instant::now() + AFTER_CONNECTION;
        let bound = connection.close();
        for &id in &bound {
            let mut shard = self.shard(id);
            if shard.open.get(&id).is_some_and(|open| open.deadline > latest) {
                shard.live_until(id, latest);
            }
        }
        if !bound.is_empty() {
            self.look_by(latest);
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).open.len()).sum()
    }

    /// How many ended ones are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).ended.len()).sum()
    }

    /// Ends leases as their time passes; never returns.
    pub async fn run(&self) {
        loop {
            // From here on every new deadline wakes this task, until it knows the earliest again.
            self.next_look.store(u64::MAX, Ordering::SeqCst);
            if let Some(next) = self.expire() {
                self.bring_forward(next);
            }
            let next = self.next_look.load(Ordering::SeqCst);
            if next == u64::MAX {
                self.look_sooner.notified().await;
            } else {
                let until = self.start + Duration::from_nanos(next);
                // Which of the two it was does not matter: the next round looks at everything.
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = self.look_sooner.notified() => {}
                }
            }
        }
    }

    /// Ends what is due, and says when to look again.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        for shard in &self.shards {
            let due = lock(shard).take_due(now);
            for (id, open) in due {
                open.tally.expired();
                open.end(id, Outcome::Cancelled, None);
            }
            let mut shard = lock(shard);
            let first = shard.deadlines.first().map(|&(deadline, _)| deadline);
            next = [next, first, shard.ended.forget(now)].into_iter().flatten().min();
        }
        next
    }

    /// Wakes [`Leases::run`] if it would look later than this.
    fn look_by(&self, deadline: Instant) {
        if self.bring_forward(deadline) {
            self.look_sooner.notify_one();
        }
    }

    /// Whether this is earlier than the look that was due next.
    fn bring_forward(&self, deadline: Instant) -> bool {
        let at = u64::try_from((deadline - self.start).as_nanos()).unwrap_or(u64::MAX - 1);
        // The load keeps the usual case, a later deadline than the one awaited, free of a write.
        at < self.next_look.load(Ordering::SeqCst)
            && at < self.next_look.fetch_min(at, Ordering::SeqCst)
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
    fn remove(&mut self, id: LeaseId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }

    /// Moves the deadline of an open lease; one whose connection is gone can't be put off.
    fn live_until(&mut self, id: LeaseId, deadline: Instant) -> Instant {
        let Some(open) = self.open.get_mut(&id) else { return deadline };
        let gone = open.holder.connection.as_ref().is_some_and(|connection| connection.is_closed());
        let deadline = if gone { deadline.min(open.deadline) } else { deadline };
        self.deadlines.remove(&(open.deadline, id));
        open.deadline = deadline;
        self.deadlines.insert((deadline, id));
        deadline
    }

    fn take_due(&mut self, now: Instant) -> Vec<(LeaseId, Open)> {
        let mut due = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(open) = self.open.remove(&id) {
                self.ended.remember(id, open.holder.identity, now);
                due.push((id, open));
            }
        }
        due
    }
}

impl Open {
    fn end(mut self, id: LeaseId, outcome: Outcome, latency: Option<Duration>) {
        if let Some(connection) = &self.holder.connection {
            connection.release(id);
        }
        self.tally.ended(outcome);
        // An outcome without a STARTED before it was a request all the same.
        if !self.in_flight && outcome != Outcome::Cancelled {
            self.held.start();
        }
        self.held.end(outcome, latency);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not take every later pick with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The leases of an answer on its way: dropped before [`Undelivered::delivered`], they end unused.
#[derive(Debug)]
pub struct Undelivered {
    leases: Arc<Leases>,
    ids: SmallVec<[LeaseId; 1]>,
}

impl Undelivered {
    /// Guards these.
    #[must_use]
    pub fn new(leases: Arc<Leases>, ids: impl Into<SmallVec<[LeaseId; 1]>>) -> Self {
        Self { leases, ids: ids.into() }
    }

    /// The answer has been handed to the connection.
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
