//! How the candidates of a pick are drawn in each group.

use super::*;
use crate::plan::model::ZoneShare;
use crate::{
    load::{Concurrency, Looks},
    policy::StrategyName,
};

impl Bench {
    /// From now on a request finds this many others in flight.
    fn meets(&mut self, others: u64) {
        let mut looks = Looks::default();
        looks.add(others + 1);
        self.service.concurrency = Concurrency::default();
        self.service.concurrency.observe(looks, Duration::from_millis(100));
    }

    fn weigh(&mut self, weights: &[u32]) {
        self.endpoints.iter_mut().zip(weights).for_each(|(each, weight)| each.weight = *weight);
    }

    fn draws(&self) -> Vec<f64> {
        self.plan.as_ref().expect("planned").endpoints.iter().map(|e| e.draw).collect()
    }

    fn choices(&self) -> Vec<u32> {
        self.plan.as_ref().expect("planned").groups.iter().map(|g| g.choices).collect()
    }
}

#[test]
fn before_the_first_request_draws_are_by_weight_and_the_policy_says_how_many_are_compared() {
    let mut bench = Bench::new("aa");
    bench.policy.choices = 5;
    bench.weigh(&[3, 1]);
    bench.plan();
    assert_eq!((bench.draws(), bench.choices()), (vec![0.75, 0.25], vec![5]));
    bench.policy.strategy = StrategyName::Random;
    bench.plan();
    assert_eq!((bench.draws(), bench.choices()), (vec![0.75, 0.25], vec![1]));
}

#[test]
fn a_group_that_gets_only_overflow_compares_even_where_few_are_in_flight() {
    let mut bench = Bench::new("aabb");
    bench.weigh(&[9, 1, 9, 1]);
    bench.meets(3);
    bench.plan();
    assert_eq!(bench.choices(), [1, 2]);
    assert_eq!(bench.draws(), [0.9, 0.1, 0.9, 0.1]);
}

#[test]
fn draws_are_corrected_for_the_part_of_the_requests_that_the_group_gets() {
    let mut bench = Bench::new("aabb");
    bench.weigh(&[9, 1, 9, 1]);
    bench.meets(200);
    bench.plan();
    assert_eq!(bench.draws()[..2], [0.9, 0.1], "twenty in flight at the lightest");
    let moved_at = bench.now;
    bench.before().zone_share = ZoneShare { share: 0.5, moved_at, ..bench.before().zone_share };
    assert_eq!(bench.plan().groups[0].share, 0.5);
    assert!(bench.draws()[0] > 0.95, "ten: {:?}", bench.draws());
    assert_eq!(bench.choices(), [2, 2]);
}

#[test]
fn a_solution_is_kept_until_something_that_it_was_made_from_changes() {
    type Change = fn(&mut Bench);
    let changes: [(Change, &str); 6] = [
        (|bench| bench.meets(20), "the requests in flight"),
        (|bench| bench.endpoints[0].weight = 20, "a weight"),
        (|bench| bench.endpoints[1].health = Health::Unready, "the number of endpoints"),
        (|bench| bench.before().groups[0].share = 0.5, "the share"),
        (|bench| bench.before().groups[0].choices = 1, "nothing was compared before"),
        (|bench| bench.before().groups.clear(), "there was no such group"),
    ];
    for (change, what) in changes {
        let mut bench = Bench::new("aaaaaaaaaaaaaaaaaaaa");
        bench.weigh(&[10; 19]);
        bench.meets(16);
        bench.plan();
        bench.before().endpoints[19].draw = 0.5;
        bench.plan();
        assert_eq!(bench.draws()[19], 0.5, "it is not made again");
        change(&mut bench);
        bench.plan();
        assert!(bench.draws()[19] < 0.01, "{what}");
    }
}
