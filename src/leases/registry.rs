//! The open leases by their names. Gives leases, takes reports about them, and withdraws them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    connection::{Closing, Connection},
    early_reports::EarlyReports,
    id::LeaseId,
    lock::lock,
    next_look::NextLook,
    open_lease::OpenLease,
    owner::{Account, LeasePermit, Owner, Owners},
    pending_changes::PendingChanges,
    report::{Event, Report, Reported},
    shard::{SHARDS, Shard},
    tally::Tally,
};
use crate::{
    identity::Identity,
    publish::{InFlightGuard, Outcome},
};

/// The time that a lease lives without a report, if the caller names none.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// The longest time that a caller may name.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// A lease lives at most this long after its connection is gone, for a report that is on its way
/// over another one.
pub const AFTER_CONNECTION: Duration = Duration::from_secs(5);

/// The holder of a new lease.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The owner, which may report it.
    pub owner: Arc<Owner>,
    /// The connection that it ends with; None: it ends by report or by its time alone.
    pub connection: Option<Arc<Connection>>,
}

pub struct Leases {
    pub(super) shards: [Mutex<Shard>; SHARDS],
    /// When [`Leases::run`] looks next.
    pub(super) next_look: NextLook,
    /// Reports that overtook the events of their lease; None if no agent sends events.
    pub(super) early: Mutex<Option<EarlyReports>>,
    /// The leases of connections that are gone.
    pub(super) closing: Mutex<VecDeque<Closing>>,
    /// Wakes the task that sends the successor its events.
    pub(super) has_events: Notify,
    /// [`Leases::end_events`] was called: after what is pending now, the successor gets no more events.
    pub(super) no_more_events: AtomicBool,
    pub(super) owners: Owners,
}

pub(super) struct NewLease<'a> {
    pub permit: LeasePermit,
    pub held: InFlightGuard,
    pub in_flight: bool,
    pub no_report: bool,
    pub tally: &'a Arc<Tally>,
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

impl Leases {
    /// Makes no lease yet. Leases expire only while [`Leases::run`] is polled.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            next_look: NextLook::new(),
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

    pub(super) fn insert(
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
        self.next_look.at_latest(deadline);
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
                    self.next_look.at_latest(due);
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
        self.next_look.at_latest(deadline);
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

    #[cold]
    fn keep_early(&self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        let mut early = lock(&self.early);
        let Some(early) = &mut *early else { return false };
        // The lock stays held: a lease that is taken over at the same time either finds the report,
        // or is found here.
        self.take_report(identity, id, report) != LeaseState::Nothing
            || early.keep(id, identity, report)
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

    pub(super) fn shard(&self, id: LeaseId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[id.low_bits() % SHARDS])
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("open", &self.open()).finish_non_exhaustive()
    }
}
