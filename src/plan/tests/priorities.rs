//! Endpoints that stand in for others.

use super::*;

impl Bench {
    /// Endpoints with these priorities, all in the agent's zone.
    fn with_priorities(priorities: &[u8]) -> Self {
        let mut bench = Self::new(&"a".repeat(priorities.len()));
        for (endpoint, priority) in bench.endpoints.iter_mut().zip(priorities) {
            endpoint.priority = *priority;
        }
        bench
    }
}

#[test]
fn failures_that_a_priority_shares_move_nothing_to_the_next_whether_that_is_used_or_not() {
    let mut bench = Bench::with_priorities(&[0, 0, 0, 1]);
    (0..3).for_each(|i| bench.ended(i, 40, 20));
    bench.plan();
    assert_eq!(bench.states(), [Serving, Serving, Serving, Standby]);
}

#[test]
fn however_many_seem_bad_at_most_the_share_is_ejected_where_others_stand_in_too() {
    let mut bench = Bench::with_priorities(&[0, 0, 0, 0, 0, 0, 1]);
    (0..6).for_each(|i| bench.unreachable(i));
    bench.plan();
    let ejected = bench.states().iter().filter(|state| **state == Ejected).count();
    assert_eq!(ejected, 2, "a third of six");
    assert_eq!(bench.states()[6], Standby);
}

#[test]
fn the_only_endpoint_of_a_priority_is_never_ejected() {
    let mut bench = Bench::with_priorities(&[0, 1]);
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Standby]);
}

#[test]
fn what_is_left_of_a_priority_overflows_into_the_next_instead_of_panic() {
    let mut bench = Bench::with_priorities(&[0, 0, 0, 0, 1]);
    bench.policy.outlier.max_ejected = 1.0;
    (0..3).for_each(|i| bench.unreachable(i));
    let plan = bench.plan();
    let wanted = "1 of 4 ready endpoints of priority 0 would be left, fewer than 50%: what these can't \
                  take goes to priority 1";
    assert_eq!(plan.notes, [wanted]);
    assert!(plan.groups[0].spill_at < 10.0, "{:?}", plan.groups[0]);
    assert_eq!(plan.groups[0].overflow, Some(1));
    assert_eq!(plan.groups[1].reason, "reached when what is left of a lower priority is full");
    assert_eq!(bench.states(), [Ejected, Ejected, Ejected, Serving, Standby]);
}

#[test]
fn half_of_a_priority_is_enough_and_waits_for_nobody() {
    let mut bench = Bench::with_priorities(&[0, 0, 1]);
    bench.unreachable(0);
    let plan = bench.plan();
    assert_eq!(plan.notes, [""; 0]);
    assert_eq!(plan.groups[0].spill_at, f32::MAX);
}

#[test]
fn panic_is_of_one_priority() {
    let mut bench = Bench::with_priorities(&[0, 0, 1, 1, 1]);
    bench.policy.outlier.max_ejected = 1.0;
    bench.endpoints[1].zone = Some("b".into());
    bench.endpoints[2].zone = Some("b".into());
    (2..4).for_each(|i| bench.unreachable(i));
    let plan = bench.plan();
    assert!(plan.notes[0].starts_with("panic: 1 of 3 ready endpoints of priority 1"), "{plan:?}");
    let expected = ["zone a", "other zones", "all, priority 1"];
    assert!(plan.groups.iter().map(|group| &group.name).eq(expected), "{:?}", plan.groups);
    assert_eq!(plan.groups[2].reason, "reached when nothing of a lower priority may be picked");
}

#[test]
fn where_all_priorities_are_lost_all_are_in_panic() {
    let mut bench = Bench::with_priorities(&[0, 0, 0, 1, 1, 1]);
    bench.policy.outlier.max_ejected = 1.0;
    (0..6).for_each(|i| bench.unreachable(i));
    let plan = bench.plan();
    assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    assert_eq!(bench.states(), [Serving, Serving, Serving, Standby, Standby, Standby]);
}

#[test]
fn the_last_priority_keeps_the_share_of_its_own_endpoints() {
    let mut bench = Bench::with_priorities(&[0, 1, 1, 1, 1, 1, 1]);
    bench.unreachable(0);
    for (index, failed) in [(1, 60), (2, 100), (3, 90), (4, 0), (5, 0), (6, 0)] {
        bench.ended(index, 100, failed);
    }
    bench.plan();
    let expected = [Serving, Standby, Ejected, Ejected, Standby, Standby, Standby];
    assert_eq!(bench.states(), expected, "two of six");
}

#[test]
fn weights_are_scaled_within_a_priority() {
    let mut bench = Bench::with_priorities(&[0, 0, 1, 1]);
    for (endpoint, weight) in bench.endpoints.iter_mut().zip([1, 3, 100, 300]) {
        endpoint.weight = weight;
    }
    let weights: Vec<f64> = bench.plan().endpoints.iter().map(|planned| planned.weight).collect();
    assert_eq!(weights, [0.5, 1.5, 0.5, 1.5]);
}

#[test]
fn errors_are_compared_within_a_priority() {
    let mut bench = Bench::with_priorities(&[0, 0, 1]);
    (0..2).for_each(|i| bench.ended(i, 100, 10));
    bench.ended(2, 1000, 0);
    let weights: Vec<f64> = bench.plan().endpoints.iter().map(|planned| planned.weight).collect();
    assert_eq!(weights, [1.0, 1.0, 1.0]);
}

#[test]
fn an_endpoint_of_weight_0_is_out_and_its_weight_is_0() {
    let mut bench = Bench::new("aa");
    bench.endpoints[0].weight = 0;
    let plan = bench.plan();
    assert_eq!((plan.endpoints[0].state, plan.endpoints[0].weight), (Out, 0.0));
}

#[test]
fn hints_are_of_one_priority() {
    let mut bench = Bench::with_priorities(&[0, 0, 1]);
    let hints = |zone: &str| Hints { zones: vec![zone.into()], nodes: Vec::new() };
    bench.endpoints[0].hints = Some(Arc::new(hints("b")));
    bench.endpoints[1].hints = Some(Arc::new(hints("a")));
    let plan = bench.plan();
    let groups: Vec<(&str, &[u32])> =
        plan.groups.iter().map(|group| (&*group.name, &*group.members)).collect();
    let expected: [(&str, &[u32]); 3] =
        [("zone a", &[1]), ("other zones", &[0]), ("zone a, priority 1", &[2])];
    assert_eq!(groups, expected, "a fallback without hints undoes none");
}
