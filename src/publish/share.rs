//! Shares the time of the publishing thread among holders.
//!
//! All tables together have a budget. If they want more, each holder gets a fair share. Other
//! holders may use what one leaves. If a holder wants more than its share, the periods of all its
//! tables are stretched by the same factor.
//!
//! A holder is an identity that picks from a table. A table with several holders costs each of them
//! an equal part. It gets the period of the holder that can afford most, so that no holder pays for
//! what another one does elsewhere.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::identity::Identity;

/// The identities that pick from a table, up to [`MOST_USERS`].
pub(super) type Users = SmallVec<[Identity; 2]>;

/// The most users of a table that are known one by one. They share its cost, even if it has more.
pub(super) const MOST_USERS: usize = 16;

#[derive(Debug)]
pub(super) struct Demand<'a> {
    /// The part of a core that the table takes at the period it wants.
    pub(super) share: f64,
    /// The holders that pay. All tables without a known holder together count as one holder.
    pub(super) users: &'a [Identity],
}

/// The factor for each table's wanted period, at least 1, with which all tables together stay
/// within the budget.
pub(super) fn stretches(demands: &[Demand<'_>], budget: f64) -> Vec<f64> {
    let mut wanted: BTreeMap<Option<Identity>, f64> = BTreeMap::new();
    for demand in demands {
        let part = demand.share / demand.users.len().max(1) as f64;
        for holder in holders(demand.users) {
            *wanted.entry(holder).or_default() += part;
        }
    }
    let most = fair_share(wanted.values().copied().collect(), budget);
    let stretch = |holder| (wanted[&holder] / most).max(1.0);
    let least = |demand: &Demand<'_>| holders(demand.users).map(stretch).fold(f64::MAX, f64::min);
    demands.iter().map(least).collect()
}

fn holders(users: &[Identity]) -> impl Iterator<Item = Option<Identity>> {
    let nobody = users.is_empty().then_some(None);
    users.iter().copied().map(Some).chain(nobody)
}

/// The most that one holder may have, so that all holders together get the budget. Infinite if the
/// budget is enough for all.
fn fair_share(mut wanted: Vec<f64>, budget: f64) -> f64 {
    wanted.sort_by(f64::total_cmp);
    let mut left = budget;
    for (index, want) in wanted.iter().enumerate() {
        let each = left / (wanted.len() - index) as f64;
        if *want > each {
            return each;
        }
        left -= want;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const ONE: Identity = Identity::Uid(1);
    const OTHER: Identity = Identity::Uid(2);
    const BUDGET: f64 = 0.02;

    fn demand(percent: f64, users: &[Identity]) -> Demand<'_> {
        Demand { share: percent / 100.0, users }
    }

    #[test]
    fn nothing_is_stretched_within_the_budget() {
        let demands = [demand(0.5, &[ONE]), demand(0.5, &[OTHER]), demand(0.9, &[])];
        assert_eq!(stretches(&demands, BUDGET), [1.0; 3]);
        assert!(stretches(&[], BUDGET).is_empty());
    }

    #[test]
    fn who_wants_more_than_a_share_pays_with_all_own_tables() {
        let mut demands: Vec<_> = (0..100).map(|_| demand(1.0, &[ONE])).collect();
        demands.push(demand(0.5, &[OTHER]));
        let stretches = stretches(&demands, BUDGET);
        assert_eq!(stretches[100], 1.0);
        // 100% of a core, with 1.5% left of the budget.
        assert!(stretches[..100].iter().all(|stretch| (stretch - 100.0 / 1.5).abs() < 1e-9));
    }

    #[test]
    fn a_table_is_not_stretched_for_what_one_of_its_users_does_elsewhere() {
        let demands = [demand(50.0, &[ONE]), demand(0.4, &[ONE, OTHER])];
        assert_eq!(stretches(&demands, BUDGET)[1], 1.0);
    }

    proptest! {
        #[test]
        fn all_together_get_the_budget_and_no_more(
            wanted in vec((0.001..5.0, 0..6u32), 1..50)
        ) {
            let users: Vec<[Identity; 1]> =
                wanted.iter().map(|(_, user)| [Identity::Uid(*user)]).collect();
            let demands: Vec<_> =
                wanted.iter().zip(&users).map(|((share, _), users)| demand(*share, users)).collect();
            let all: f64 = demands.iter().map(|demand| demand.share).sum();
            let got: f64 = (demands.iter().zip(stretches(&demands, BUDGET)))
                .map(|(demand, stretch)| demand.share / stretch)
                .sum();
            prop_assert!((got - all.min(BUDGET)).abs() < 1e-9, "{got} of {all}");
        }
    }
}
