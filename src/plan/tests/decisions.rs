//! What makes a plan another one.

use super::*;

#[test]
fn a_plan_decides_otherwise_if_anything_that_callers_see_differs() {
    type Change = fn(&mut Plan);
    let changes: [(Change, &str); 14] = [
        (|plan| drop(plan.groups.pop()), "groups"),
        (|plan| plan.groups[0].share = 0.5, "share"),
        (|plan| _ = plan.groups[0].members.pop(), "members"),
        (|plan| plan.groups[0].choices = 3, "choices"),
        (|plan| plan.groups[0].overflow = None, "overflow"),
        (|plan| plan.groups[0].spill_at = 9.0, "spill_at"),
        (|plan| plan.groups[0].spill_margin = 9.0, "spill_margin"),
        (|plan| drop(plan.endpoints.pop()), "endpoints"),
        (|plan| plan.endpoints[0].state = Ejected, "state"),
        (|plan| plan.endpoints[0].weight = 0.5, "weight"),
        (|plan| plan.endpoints[0].draw = 0.25, "draw"),
        (|plan| plan.endpoints[0].lean = 0.5, "lean"),
        (|plan| plan.endpoints[0].limit = 1, "limit"),
        (|plan| plan.endpoints.swap(0, 1), "address"),
    ];
    let mut bench = Bench::new("aab");
    let plan = bench.plan().clone();
    for (change, what) in changes {
        let mut other = plan.clone();
        change(&mut other);
        assert!(!plan.decides_as(&other) && !other.decides_as(&plan), "{what}");
    }
    let mut other = plan.clone();
    other.notes.push("another reason".into());
    other.next_change = Some(bench.now);
    other.groups[0].reason = "another".into();
    assert!(plan.decides_as(&other));
}
