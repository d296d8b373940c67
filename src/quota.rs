//! Limits how much of something one holder may have, so that none can take it from all the others.
//!
//! Three quarters go to whoever asks first. The last quarter is a reserve, which goes only to
//! holders that have little so far. A holder that takes ever more connections or leases is stopped
//! at the reserve, and the others are served as usual.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// One part in this many is the reserve.
const RESERVE: usize = 4;
/// A holder that has one part in this many has much.
const MUCH: usize = 8;
/// The number of holders that the reserve has room for, each with an equal part.
const HOLDERS: usize = 64;

/// Whether a holder may then have `own`, if all holders together then have `all` of `total`.
fn has_room(total: usize, all: usize, own: usize) -> bool {
    let reserve = total / RESERVE;
    let fair = (reserve / HOLDERS).max(1);
    all <= total - reserve || (all <= total && own <= fair)
}

/// A quota whose holders keep their own counts. It needs no lock and no search, for what every call
/// takes.
#[derive(Debug)]
pub struct Total {
    name: &'static str,
    total: usize,
    all: AtomicUsize,
}

impl Total {
    /// A quota of `total`. Errors call it `name`.
    pub fn new(name: &'static str, total: usize) -> Self {
        Self { name, total, all: AtomicUsize::new(0) }
    }

    /// Takes `amount` for the holder that has `own` so far.
    ///
    /// # Errors
    /// There is not enough left, or the rest is for holders with less.
    pub fn take(&self, own: &AtomicUsize, amount: usize) -> Result<(), Exhausted> {
        let own_then = own.fetch_add(amount, Relaxed) + amount;
        let room = |all: usize| has_room(self.total, all, own_then).then_some(all);
        let taken = self.all.fetch_update(Relaxed, Relaxed, |all| room(all + amount));
        taken.map(drop).map_err(|all| {
            own.fetch_sub(amount, Relaxed);
            Exhausted { name: self.name, held: own_then - amount, all, total: self.total }
        })
    }

    /// Gives back what [`Total::take`] took.
    pub fn give_back(&self, own: &AtomicUsize, amount: usize) {
        own.fetch_sub(amount, Relaxed);
        self.all.fetch_sub(amount, Relaxed);
    }

    /// How much all holders have.
    pub fn in_use(&self) -> usize {
        self.all.load(Relaxed)
    }

    /// How much there is.
    pub fn total(&self) -> usize {
        self.total
    }
}

/// A quota that keeps the counts of its holders.
#[derive(Debug)]
pub struct Quota<K> {
    name: &'static str,
    total: usize,
    /// The most that one holder may have.
    most: usize,
    held: Mutex<Holdings<K>>,
}

#[derive(Debug)]
struct Holdings<K> {
    all: usize,
    by: BTreeMap<K, usize>,
}

/// A part of a quota, until it is dropped.
#[derive(Debug)]
pub struct Permit<K: Copy + Debug + Ord> {
    quota: Arc<Quota<K>>,
    holder: K,
    amount: usize,
}

/// The error of a holder that may not have more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{held} {name} are held by this caller and {all} of {total} by all: no more for now")]
pub struct Exhausted {
    /// What the quota is of, such as "leases".
    pub name: &'static str,
    /// How much the asking holder has.
    pub held: usize,
    /// How much all holders have.
    pub all: usize,
    /// How much there is.
    pub total: usize,
}

impl Exhausted {
    /// Whether the holder that asked has much of it already. If not, others left so little.
    pub fn holds_much(&self) -> bool {
        self.held >= self.total / MUCH
    }
}

impl<K: Copy + Debug + Ord> Quota<K> {
    /// A quota of `total`. Errors call it `name`.
    pub fn new(name: &'static str, total: usize) -> Arc<Self> {
        Self::with_most(name, total, total)
    }

    /// The same, with at most `most` of it for one holder.
    pub fn with_most(name: &'static str, total: usize, most: usize) -> Arc<Self> {
        let held = Mutex::new(Holdings { all: 0, by: BTreeMap::new() });
        Arc::new(Self { name, total, most, held })
    }

    /// Takes one for this holder.
    ///
    /// # Errors
    /// Nothing is left, or the rest is for holders with less.
    pub fn take(self: &Arc<Self>, holder: K) -> Result<Permit<K>, Exhausted> {
        self.take_some(holder, 1)
    }

    /// Takes `amount` for this holder.
    ///
    /// # Errors
    /// There is not enough left, or the rest is for holders with less.
    pub fn take_some(self: &Arc<Self>, holder: K, amount: usize) -> Result<Permit<K>, Exhausted> {
        self.resize(holder, 0, amount)?;
        Ok(Permit { quota: Arc::clone(self), holder, amount })
    }

    /// Changes what a holder took from `from` to `to`. The caller gives back what it took. To take
    /// less never fails.
    ///
    /// # Errors
    /// Nothing is left, or the rest is for holders with less.
    pub fn resize(&self, holder: K, from: usize, to: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        let own = held.by.get(&holder).copied().unwrap_or(0);
        let (all_then, own_then) = (held.all - from + to, own - from + to);
        let room = has_room(self.total, all_then, own_then) && own_then <= self.most;
        if to > from && !room {
            let (name, all, total) = (self.name, held.all, self.total);
            return Err(Exhausted { name, held: own, all, total });
        }
        held.all = all_then;
        match own_then {
            0 => held.by.remove(&holder),
            own => held.by.insert(holder, own),
        };
        Ok(())
    }

    /// What each holder has, the most first.
    pub fn holders(&self) -> Vec<(K, usize)> {
        let mut holders: Vec<_> = self.held().by.iter().map(|(k, n)| (*k, *n)).collect();
        holders.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
        holders
    }

    /// How much all holders have.
    pub fn in_use(&self) -> usize {
        self.held().all
    }

    /// How much there is.
    pub fn total(&self) -> usize {
        self.total
    }

    fn held(&self) -> MutexGuard<'_, Holdings<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Debug + Ord> Permit<K> {
    /// Changes the amount. If it fails, the amount stays as it is.
    ///
    /// # Errors
    /// Nothing is left, or the rest is for holders with less.
    pub fn resize(&mut self, amount: usize) -> Result<(), Exhausted> {
        if amount != self.amount {
            self.quota.resize(self.holder, self.amount, amount)?;
            self.amount = amount;
        }
        Ok(())
    }
}

impl<K: Copy + Debug + Ord> Drop for Permit<K> {
    fn drop(&mut self) {
        self.quota.resize(self.holder, self.amount, 0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_can_not_take_the_reserve() {
        let quota = Quota::new("leases", 400);
        let greedy: Vec<_> = std::iter::from_fn(|| quota.take("greedy").ok()).collect();
        assert_eq!(greedy.len(), 300);
        let another = quota.take("another").expect("there is a reserve");
        assert_eq!(
            quota.take("another").unwrap_err().to_string(),
            "1 leases are held by this caller and 301 of 400 by all: no more for now"
        );
        assert!(!quota.take("another").unwrap_err().holds_much());
        assert!(quota.take("greedy").unwrap_err().holds_much());
        drop(another);
        drop(greedy);
        assert!(quota.holders().is_empty());
    }

    #[test]
    fn a_permit_that_can_not_grow_stays_as_it_is() {
        let quota = Quota::new("names", 400);
        let mut permit = quota.take_some("greedy", 0).unwrap();
        permit.resize(300).unwrap();
        permit.resize(301).unwrap_err();
        assert_eq!(quota.holders(), [("greedy", 300)]);
        permit.resize(10).unwrap();
        assert_eq!(quota.in_use(), 10);
        drop(permit);
        assert_eq!(quota.in_use(), 0);
    }

    #[test]
    fn holders_that_count_for_themselves_have_the_same_reserve() {
        let total = Total::new("leases", 400);
        let (greedy, another) = (AtomicUsize::new(0), AtomicUsize::new(0));
        assert_eq!((0..400).filter(|_| total.take(&greedy, 1).is_ok()).count(), 300);
        assert_eq!(greedy.load(Relaxed), 300, "what was refused is not held");
        total.take(&another, 1).expect("there is a reserve");
        assert_eq!(
            total.take(&another, 1).unwrap_err().to_string(),
            "1 leases are held by this caller and 301 of 400 by all: no more for now"
        );
        total.give_back(&greedy, 300);
        total.take(&another, 299).expect("it was given back");
        total.give_back(&another, 300);
        assert_eq!((total.in_use(), another.load(Relaxed)), (0, 0));
    }

    #[test]
    fn one_holder_has_at_most_what_one_may_have() {
        let quota = Quota::with_most("connections", 400, 50);
        let greedy: Vec<_> = std::iter::from_fn(|| quota.take("greedy").ok()).collect();
        assert_eq!(greedy.len(), 50);
        let another: Vec<_> = std::iter::from_fn(|| quota.take("another").ok()).collect();
        assert_eq!(another.len(), 50);
    }

    #[test]
    fn the_reserve_is_for_many_who_hold_little() {
        let quota = Quota::new("connections", 4096);
        let _greedy: Vec<_> = (0..3072).map(|_| quota.take(0).unwrap()).collect();
        let modest: Vec<_> = (1..=64)
            .flat_map(|holder| (0..16).map(move |_| holder))
            .map(|holder| quota.take(holder).unwrap())
            .collect();
        assert_eq!(modest.len(), 1024);
        assert_eq!(quota.take(99).unwrap_err().all, 4096);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let quota = Quota::new("leases", 4);
        let mut held: Vec<_> = (0..3).map(|_| quota.take(1).unwrap()).collect();
        assert!(quota.take(1).is_err());
        held.pop();
        assert_eq!((quota.holders(), quota.in_use()), (vec![(1, 2)], 2));
        held.push(quota.take(1).unwrap());
        assert_eq!(quota.holders(), [(1, 3)]);
        assert_eq!(quota.total(), 4);
    }

    #[test]
    fn amounts_come_out_of_the_same_reserve() {
        let quota = Quota::new("bytes", 4096);
        quota.resize(1, 0, 3072).unwrap();
        assert!(quota.resize(1, 3072, 3073).is_err(), "the reserve is for others");
        assert!(quota.resize(2, 0, 17).is_err(), "and little for each");
        quota.resize(2, 0, 16).unwrap();
        assert!(quota.resize(2, 16, 17).is_err());
        quota.resize(1, 3072, 1000).unwrap();
        quota.resize(2, 16, 2000).unwrap();
        assert_eq!(quota.holders(), [(2, 2000), (1, 1000)]);
        quota.resize(2, 2000, 0).unwrap();
        quota.resize(1, 1000, 0).unwrap();
        assert!(quota.holders().is_empty() && quota.in_use() == 0);
    }
}
