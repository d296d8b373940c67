//! Keeps the owners of leases: how many leases each has open, which ended lately, and how many
//! expired.
//!
//! A caller keeps its owner for as long as its connection lasts. So a pick and a report count by
//! atomics alone, without a lock or a search. Owners that no caller holds stay while their counts
//! are recent, up to a bound.
//!
//! A lease that nobody reports keeps requests away from its endpoint for as long as it lives, so
//! the agent names its caller. Counts are of the last ten to twenty minutes, so that a mistake that
//! was fixed is not held against its caller for ever.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    id::LeaseId,
    lock::lock,
    recently_ended::{self, RecentlyEnded},
};
use crate::{
    identity::Identity,
    publish::MOST_COST,
    quota::{Exhausted, Total},
};

/// The most open leases of all callers. At 300 bytes each they take at most 75 MiB. A node with
/// 20,000 requests a second of half a second each has 10,000.
const MOST: usize = 1 << 18;

/// The length of a window. Counts are kept for the current window and the one before.
const WINDOW: Duration = Duration::from_secs(600);

/// Owners that no caller holds are kept up to this number in all: more than a node has pods. Beyond
/// it the owner with the lowest counts goes, so that a caller with many identities can't hide one
/// with high counts.
const MOST_OWNERS: usize = 1024;

/// The leases of one identity over the last ten to twenty minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The leases that were given.
    pub given: u64,
    /// The leases that expired without a report.
    pub expired: u64,
}

impl Account {
    /// The part of the leases that expired, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        // A lease may be given in one window and expire in the next.
        self.expired as f64 / self.given.max(self.expired).max(1) as f64
    }
}

/// The totals of all owners.
#[derive(Debug)]
struct Totals {
    leases: Total,
    costs: Total,
    /// The ended leases that are remembered.
    ended: Total,
    start: Instant,
    /// When the next of them are to be forgotten, in nanoseconds since `start`; `u64::MAX`: there
    /// are none.
    forget_at: AtomicU64,
}

impl Totals {
    fn window(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / WINDOW.as_secs()
    }

    /// Moves the next forgetting forward to `due`. Returns false if it is due earlier already.
    fn forget_by(&self, due: Instant) -> bool {
        let at = due.saturating_duration_since(self.start).as_nanos() as u64;
        at < self.forget_at.fetch_min(at, Relaxed)
    }
}

#[derive(Debug)]
pub struct Owner {
    identity: Identity,
    totals: Arc<Totals>,
    open: AtomicUsize,
    cost: AtomicUsize,
    counts: Counts,
    recently_ended: Mutex<RecentlyEnded>,
    /// The number of `recently_ended`.
    remembered: AtomicUsize,
}

impl Owner {
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Permits one more lease, of this cost.
    ///
    /// # Errors
    /// This owner, or all owners together, have too many open.
    pub fn permit(self: &Arc<Self>, cost: u32) -> Result<LeasePermit, Exhausted> {
        let Totals { leases, costs, .. } = &*self.totals;
        leases.take(&self.open, 1)?;
        if let Err(exhausted) = costs.take(&self.cost, cost as usize) {
            leases.give_back(&self.open, 1);
            return Err(exhausted);
        }
        Ok(LeasePermit { owner: self.clone(), cost })
    }

    pub(super) fn given(&self, now: Instant) {
        self.counts.of(self.totals.window(now)).given.fetch_add(1, Relaxed);
    }

    pub(super) fn expired(&self, now: Instant) {
        self.counts.of(self.totals.window(now)).expired.fetch_add(1, Relaxed);
    }

    /// Remembers that a lease has ended. Returns when it may be forgotten, if that is before all
    /// others.
    pub(super) fn remember(&self, id: LeaseId, now: Instant) -> Option<Instant> {
        let due = lock(&self.recently_ended).remember(
            self.fingerprint(id),
            now,
            &self.totals.ended,
            &self.remembered,
        )?;
        self.totals.forget_by(due).then_some(due)
    }

    fn remembers(&self, id: LeaseId, now: Instant) -> bool {
        lock(&self.recently_ended).remembers(self.fingerprint(id), now)
    }

    /// Makes searches through the ended leases of this owner wait, as a long search does.
    #[cfg(test)]
    pub(super) fn hold_recently_ended(&self) -> impl Drop + '_ {
        lock(&self.recently_ended)
    }

    fn forget(&self, now: Instant) -> Option<Instant> {
        lock(&self.recently_ended).forget(now, &self.totals.ended, &self.remembered)
    }

    fn fingerprint(&self, id: LeaseId) -> u64 {
        id.fingerprint(self.identity.fingerprint())
    }

    fn account(&self, now: Instant) -> Account {
        self.counts.sum(self.totals.window(now))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.recently_ended).clear(&self.totals.ended, &self.remembered);
    }
}

/// The right to one open lease, until it is dropped.
#[derive(Debug)]
pub struct LeasePermit {
    owner: Arc<Owner>,
    cost: u32,
}

impl LeasePermit {
    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(super) fn identity(&self) -> Identity {
        self.owner.identity
    }
}

impl Drop for LeasePermit {
    fn drop(&mut self) {
        let Totals { leases, costs, .. } = &*self.owner.totals;
        leases.give_back(&self.owner.open, 1);
        costs.give_back(&self.owner.cost, self.cost as usize);
    }
}

/// The counts of this window and the one before, by the parity of the window's number.
#[derive(Debug, Default)]
struct Counts {
    window: AtomicU64,
    by_parity: [Count; 2],
}

#[derive(Debug, Default)]
struct Count {
    given: AtomicU64,
    expired: AtomicU64,
}

impl Counts {
    fn of(&self, window: u64) -> &Count {
        self.turn(window);
        &self.by_parity[window as usize % 2]
    }

    fn sum(&self, window: u64) -> Account {
        self.turn(window);
        let sum = |count: fn(&Count) -> &AtomicU64| -> u64 {
            self.by_parity.iter().map(|each| count(each).load(Relaxed)).sum()
        };
        Account { given: sum(|count| &count.given), expired: sum(|count| &count.expired) }
    }

    /// Begins a new window if the last one is over. A count of another thread at the same moment
    /// may fall into either window, or be lost with the oldest.
    fn turn(&self, window: u64) {
        let before = self.window.load(Relaxed);
        if window > before && self.window.compare_exchange(before, window, Relaxed, Relaxed).is_ok()
        {
            self.by_parity[window as usize % 2].clear();
            if window - before > 1 {
                self.by_parity[before as usize % 2].clear();
            }
        }
    }
}

impl Count {
    fn clear(&self) {
        self.given.store(0, Relaxed);
        self.expired.store(0, Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Owners {
    totals: Arc<Totals>,
    by: Mutex<HashMap<Identity, Arc<Owner>>>,
}

impl Owners {
    pub(super) fn new() -> Self {
        let leases = Total::new("leases", MOST);
        let costs = Total::new("units of cost in flight", MOST_COST as usize);
        let ended = Total::new("leases that ended lately", recently_ended::MOST);
        let (start, forget_at) = (Instant::now(), AtomicU64::new(u64::MAX));
        let totals = Arc::new(Totals { leases, costs, ended, start, forget_at });
        Self { totals, by: Mutex::default() }
    }

    pub(super) fn of(&self, identity: Identity) -> Arc<Owner> {
        let mut by = lock(&self.by);
        if by.len() >= MOST_OWNERS && !by.contains_key(&identity) {
            let now = Instant::now();
            // Under this lock no other thread can get an owner that only the map holds.
            let unheld = by.values().filter(|owner| Arc::strong_count(owner) == 1);
            let counts = |owner: &&Arc<Owner>| {
                let Account { given, expired } = owner.account(now);
                (expired, given)
            };
            if let Some(least) = unheld.min_by_key(counts).map(|owner| owner.identity) {
                by.remove(&least);
            }
        }
        let new = || {
            // Its first count moves it to the current window.
            let (totals, counts) = (self.totals.clone(), Counts::default());
            let (open, cost) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (recently_ended, remembered) = (Mutex::default(), AtomicUsize::new(0));
            Arc::new(Owner { identity, totals, open, cost, counts, recently_ended, remembered })
        };
        by.entry(identity).or_insert_with(new).clone()
    }

    /// Whether this lease of this identity ended a short while ago.
    pub(super) fn remembers(&self, identity: Identity, id: LeaseId, now: Instant) -> bool {
        let owner = lock(&self.by).get(&identity).cloned();
        owner.is_some_and(|owner| owner.remembers(id, now))
    }

    /// The number of ended leases that are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.totals.ended.in_use()
    }

    /// Forgets leases that ended long ago. Returns when the next ones are due.
    pub(super) fn forget(&self, now: Instant) -> Option<Instant> {
        let Totals { start, forget_at, .. } = &*self.totals;
        let due = |at: u64| (at < u64::MAX).then(|| *start + Duration::from_nanos(at));
        let next = due(forget_at.load(Relaxed));
        if next.is_none_or(|next| now < next) {
            return next;
        }
        // A lease that ends in the meantime sets the time again.
        forget_at.store(u64::MAX, Relaxed);
        // Outside of the lock, which new connections need: an owner may be busy.
        let all: Vec<_> = lock(&self.by).values().cloned().collect();
        if let Some(next) = all.iter().filter_map(|owner| owner.forget(now)).min() {
            self.totals.forget_by(next);
        }
        due(forget_at.load(Relaxed))
    }

    /// The number of open leases by identity, the most first.
    pub(super) fn open(&self) -> Vec<(Identity, usize)> {
        let open = |owner: &Arc<Owner>| (owner.identity, owner.open.load(Relaxed));
        let mut open: Vec<_> = lock(&self.by).values().map(open).collect();
        open.retain(|(_, open)| *open > 0);
        open.sort_by_key(|(identity, open)| (std::cmp::Reverse(*open), *identity));
        open
    }

    /// The accounts of all identities that have counts, those with the most expired leases first.
    pub(super) fn accounts(&self) -> Vec<(Identity, Account)> {
        let now = Instant::now();
        let account = |owner: &Arc<Owner>| (owner.identity, owner.account(now));
        let mut accounts: Vec<_> = lock(&self.by).values().map(account).collect();
        accounts.retain(|(_, account)| *account != Account::default());
        accounts.sort_by_key(|(identity, account)| {
            (std::cmp::Reverse((account.expired, account.given)), *identity)
        });
        accounts
    }

    pub(super) fn most(&self) -> usize {
        self.totals.leases.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity::Uid(1);

    #[test]
    fn counts_are_of_the_last_ten_to_twenty_minutes() {
        let owners = Owners::new();
        let me = owners.of(ME);
        let start = owners.totals.start;
        me.given(start);
        me.expired(start + WINDOW / 2);
        me.given(start + WINDOW);
        assert_eq!(me.account(start + WINDOW), Account { given: 2, expired: 1 });
        assert_eq!(me.account(start + 2 * WINDOW), Account { given: 1, expired: 0 });
        assert_eq!(me.account(start + 3 * WINDOW), Account::default());
        me.given(start + 3 * WINDOW);
        assert_eq!(me.account(start + 9 * WINDOW), Account::default(), "nobody asked meanwhile");
    }

    #[test]
    fn somebody_with_many_identities_neither_fills_the_memory_nor_hides_who_lets_leases_run_out() {
        let owners = Owners::new();
        let now = Instant::now();
        let forgetful = Identity::Uid(7);
        for _ in 0..20 {
            owners.of(forgetful).given(now);
            owners.of(forgetful).expired(now);
        }
        for uid in 1000..20_000 {
            owners.of(Identity::Uid(uid)).given(now);
            owners.of(Identity::Uid(uid)).expired(now);
        }
        assert_eq!(lock(&owners.by).len(), MOST_OWNERS);
        assert_eq!(owners.accounts()[0], (forgetful, Account { given: 20, expired: 20 }));
    }

    #[test]
    fn who_has_most_comes_first() {
        let owners = Owners::new();
        let now = Instant::now();
        for (uid, given, expired) in [(1, 5, 0), (2, 3, 2), (3, 9, 2), (4, 0, 0)] {
            let owner = owners.of(Identity::Uid(uid));
            (0..given).for_each(|_| owner.given(now));
            (0..expired).for_each(|_| owner.expired(now));
        }
        let accounts: Vec<Identity> = owners.accounts().into_iter().map(|(who, _)| who).collect();
        assert_eq!(accounts, [3, 2, 1].map(Identity::Uid), "without those that had no lease");
        let held = [(1, 2), (2, 3), (3, 2)].map(|(uid, count)| {
            let owner = owners.of(Identity::Uid(uid));
            (0..count).map(|_| owner.permit(1).unwrap()).collect::<Vec<_>>()
        });
        let open: Vec<usize> = owners.open().iter().map(|(_, open)| *open).collect();
        assert_eq!((owners.open()[0].0, open), (Identity::Uid(2), vec![3, 2, 2]));
        drop(held);
        assert_eq!(owners.most(), MOST);
    }

    #[test]
    fn an_owner_with_open_leases_is_never_forgotten() {
        let owners = Owners::new();
        let permit = owners.of(ME).permit(5).unwrap();
        for uid in 1000..1000 + 2 * MOST_OWNERS as u32 {
            owners.of(Identity::Uid(uid)).given(Instant::now());
        }
        assert_eq!(owners.open(), [(ME, 1)]);
        assert!(Arc::ptr_eq(&owners.of(ME), permit.owner()));
        drop(permit);
        let Totals { leases, costs, .. } = &*owners.totals;
        assert_eq!((owners.open(), leases.in_use(), costs.in_use()), (Vec::new(), 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_remembered_for_a_minute_and_not_for_ever() {
        let owners = Owners::new();
        let me = owners.of(ME);
        let (first, second) = (LeaseId::random(), LeaseId::random());
        let start = Instant::now();
        let due = me.remember(first, start).expect("the first asks to be forgotten");
        assert_eq!(me.remember(second, start + Duration::from_secs(19)), None);

        let remembers = |id, after| owners.remembers(ME, id, start + Duration::from_secs(after));
        assert!(remembers(first, 60));
        assert!(remembers(second, 79));
        assert!(!owners.remembers(ME, first, due));
        assert!(!owners.remembers(Identity::Uid(2), second, start), "it is another's");
        assert_eq!(owners.forget(due - Duration::from_secs(1)), Some(due));
        assert_eq!(owners.remembered(), 2);
        assert_eq!(owners.forget(due), None);
        assert_eq!(owners.remembered(), 0);
    }

    #[test]
    fn an_owner_that_ends_leases_without_end_fills_no_memory_and_another_is_remembered_as_before() {
        let owners = Owners::new();
        let (busy, modest) = (owners.of(ME), owners.of(Identity::Uid(2)));
        let now = Instant::now();
        let modest_one = LeaseId::random();
        modest.remember(modest_one, now);
        let share = recently_ended::MOST / 4 * 3;
        let mut last = LeaseId::random();
        for _ in 0..3 * share {
            last = LeaseId::random();
            busy.remember(last, now);
        }
        let held = owners.remembered();
        assert!(held <= share + 1 && held > share * 9 / 10, "{held} of {share}");
        assert!(busy.remembers(last, now), "it is the oldest that are forgotten");
        assert!(owners.remembers(Identity::Uid(2), modest_one, now));
        let late = LeaseId::random();
        modest.remember(late, now);
        assert!(modest.remembers(late, now), "there is a reserve");
        drop(busy);
        lock(&owners.by).remove(&ME);
        assert_eq!(owners.remembered(), 2);
    }

    #[test]
    fn a_share_is_a_part_of_a_whole() {
        assert_eq!(Account { given: 40, expired: 4 }.share(), 0.1);
        assert_eq!(Account { given: 0, expired: 3 }.share(), 1.0);
        assert_eq!(Account::default().share(), 0.0);
    }
}
