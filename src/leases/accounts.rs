//! Who reports leases, and who lets them run out.
//!
//! A lease that nobody reports keeps requests away from its endpoint for as long as it lives, so its
//! caller is named. Counts are of the last ten to twenty minutes: a mistake that was mended is not
//! held against its caller for ever.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{Identity, Leases, lock};

/// Counts are kept for this time, and for as long again.
const WINDOW: Duration = Duration::from_secs(600);

/// Identities that each shard counts: more than there are pods on a node. Beyond it whoever has the
/// least gives way, so that somebody with many identities can't hide one that has much.
const MOST: usize = 256;

/// Leases of one identity, over the last ten to twenty minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Given.
    pub given: u64,
    /// Ended by their time, unreported.
    pub expired: u64,
}

impl Account {
    /// The part of the leases that ran out, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        // A lease may be given in one window and run out in the next.
        self.expired as f64 / self.given.max(self.expired).max(1) as f64
    }

    fn plus(self, other: Self) -> Self {
        Self { given: self.given + other.given, expired: self.expired + other.expired }
    }
}

/// The accounts of one shard: it is locked anyway where a lease begins or ends.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    since: Option<Instant>,
    /// Of this window and the one before.
    by: HashMap<Identity, [Account; 2]>,
}

impl Accounts {
    pub(super) fn given(&mut self, identity: Identity, now: Instant) {
        self.of(identity, now).given += 1;
    }

    pub(super) fn expired(&mut self, identity: Identity, now: Instant) {
        self.of(identity, now).expired += 1;
    }

    fn of(&mut self, identity: Identity, now: Instant) -> &mut Account {
        self.turn(now);
        if self.by.len() >= MOST && !self.by.contains_key(&identity) {
            let sum = |[now, before]: &[Account; 2]| now.plus(*before);
            let least = self.by.iter().min_by_key(|(_, both)| (sum(both).expired, sum(both).given));
            let least = least.map(|(identity, _)| *identity);
            self.by.retain(|identity, _| Some(*identity) != least);
        }
        &mut self.by.entry(identity).or_default()[0]
    }

    /// Begins a new window where one is over.
    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let over = now.saturating_duration_since(since);
        if over < WINDOW {
            return;
        }
        self.since = Some(now);
        let forgotten = over >= 2 * WINDOW;
        self.by.retain(|_, [now, before]| {
            *before = std::mem::take(now);
            !forgotten && *before != Account::default()
        });
    }
}

impl Leases {
    /// The accounts of all identities, those with the most leases that ran out first.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Identity, Account)> {
        let now = Instant::now();
        let mut all: HashMap<Identity, Account> = HashMap::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.accounts.turn(now);
            for (identity, [now, before]) in &shard.accounts.by {
                let account = all.entry(*identity).or_default();
                *account = account.plus(*now).plus(*before);
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(identity, account)| {
            (std::cmp::Reverse((account.expired, account.given)), *identity)
        });
        all
    }

    /// The accounts of those identities that let leases run out, the most first.
    pub fn forgetful(&self) -> impl Iterator<Item = (Identity, Account)> {
        self.accounts().into_iter().filter(|(_, account)| account.expired > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_the_last_ten_to_twenty_minutes() {
        let mut accounts = Accounts::default();
        let start = Instant::now();
        let me = Identity::Uid(1);
        accounts.given(me, start);
        accounts.expired(me, start + WINDOW / 2);
        accounts.given(me, start + WINDOW);
        let of = |accounts: &Accounts| accounts.by.get(&me).map(|[a, b]| a.plus(*b));
        assert_eq!(of(&accounts), Some(Account { given: 2, expired: 1 }));
        accounts.turn(start + 2 * WINDOW);
        assert_eq!(of(&accounts), Some(Account { given: 1, expired: 0 }));
        accounts.turn(start + 3 * WINDOW);
        assert_eq!(of(&accounts), None);
        accounts.given(me, start + 3 * WINDOW);
        accounts.turn(start + 9 * WINDOW);
        assert_eq!(of(&accounts), None, "nobody asked meanwhile");
    }

    #[test]
    fn somebody_with_many_identities_neither_fills_the_memory_nor_hides_who_lets_leases_run_out() {
        let mut accounts = Accounts::default();
        let now = Instant::now();
        let forgetful = Identity::Uid(7);
        for _ in 0..20 {
            accounts.given(forgetful, now);
            accounts.expired(forgetful, now);
        }
        for uid in 1000..100_000 {
            accounts.given(Identity::Uid(uid), now);
            accounts.expired(Identity::Uid(uid), now);
        }
        assert_eq!(accounts.by.len(), MOST);
        assert_eq!(accounts.by[&forgetful][0], Account { given: 20, expired: 20 });
    }

    #[test]
    fn a_share_is_a_part_of_a_whole() {
        assert_eq!(Account { given: 40, expired: 4 }.share(), 0.1);
        assert_eq!(Account { given: 0, expired: 3 }.share(), 1.0);
        assert_eq!(Account::default().share(), 0.0);
    }
}
