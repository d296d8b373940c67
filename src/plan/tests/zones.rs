//! How much of the requests stays in the own zone.

use proptest::prelude::*;

use super::*;
use crate::{load::BusyWorkers, plan::model::ZoneShare};

impl Bench {
    /// Continues from this share of the own zone.
    fn with_share(&mut self, share: f64) {
        self.plan();
        let (moved_at, apart_since) = (self.now, Some(self.now));
        self.before().zone_share = ZoneShare { share, moved_at, apart_since };
    }

    /// The next share, if so many requests stayed in the own zone and so many left it.
    fn share_after(&mut self, stayed: u32, left: u32) -> f64 {
        self.now += Duration::from_secs(2);
        self.ended(0, stayed, 0);
        self.ended(1, left, 0);
        self.plan().zone_share.share
    }
}

#[test]
fn a_pick_looks_further_from_one_more_than_twice_the_busy_workers_on() {
    let mut bench = Bench::new("ab");
    let own = &bench.plan().groups[0];
    assert_eq!((own.spill_at, own.spill_margin), (3.0, 1.0), "one is assumed");
    // 1,000 requests a second of 4.3 ms.
    bench.service.busy = BusyWorkers::default();
    bench.service.busy.observe(Duration::from_millis(100), 1, 100, 100, 100 * 4_300);
    let groups = &bench.plan().groups;
    assert_eq!((groups[0].spill_at, groups[1].spill_at), (9.625, f32::MAX), "in eighths");
}

#[test]
fn the_share_of_the_own_zone_moves_by_sixteenths_between_what_it_deserves_and_all() {
    for (stayed, left, share) in [
        (555, 445, 0.6875), // 26% overflow.
        (600, 400, 0.75),   // 20% do.
        (682, 318, 0.8125), // 9% do.
        (36, 13, 0.75),     // Fewer than fifty requests show nothing.
        (36, 14, 0.8125),
    ] {
        let mut bench = Bench::new("abbbcc");
        bench.with_share(0.75);
        assert_eq!(bench.share_after(stayed, left), share, "{stayed} stayed, {left} left");
    }
    let mut bench = Bench::new("abbbcc");
    bench.with_share(1.0);
    assert_eq!(bench.share_after(75, 25), 1.0, "a quarter is little enough");
    assert_eq!(bench.share_after(70, 30), 0.9375);
    assert_eq!(bench.after(1.9).zone_share.share, 0.9375, "two seconds have not passed");
    let mut bench = Bench::new("abbbcc");
    bench.with_share(0.875);
    let shares = [(); 3].map(|()| bench.share_after(1000, 0));
    assert_eq!(shares, [0.9375, 1.0, 1.0]);
    let mut bench = Bench::new("abbbcc");
    bench.with_share(0.5625);
    let shares = [(); 2].map(|()| bench.share_after(0, 1000));
    assert_eq!(shares, [0.5, 0.5], "one of six in three zones");
}

#[test]
fn a_zone_deserves_its_part_of_the_weight_times_the_number_of_zones() {
    let floor = |bench: &mut Bench| {
        bench.with_share(0.125);
        let share = bench.share_after(0, 1000);
        bench.with_share(1.0);
        share
    };
    assert_eq!(floor(&mut Bench::new("abb")), 2.0 / 3.0);
    assert_eq!(floor(&mut Bench::new("abc")), 1.0);
    let mut bench = Bench::new("abb");
    bench.endpoints[0].weight = 2;
    assert_eq!(floor(&mut bench), 1.0);
    let mut bench = Bench::new("abbb");
    bench.endpoints[3].health = Health::Unready;
    assert_eq!(floor(&mut bench), 2.0 / 3.0, "of what is picked");
    let mut bench = Bench::new("abbb");
    bench.endpoints[3].braked = true;
    assert_eq!(floor(&mut bench), 2.0 / 3.0, "of what is not braked");
    let crowd = format!("a{}", "b".repeat(99));
    assert_eq!(floor(&mut Bench::new(&crowd)), 1.0 / 16.0);
}

#[test]
fn a_plan_is_due_when_the_share_may_move_while_it_is_below_all() {
    let mut bench = Bench::new("abbbcc");
    bench.with_share(0.75);
    let due = bench.now + Duration::from_secs(2);
    assert_eq!(bench.after(1.9).next_change, Some(due));
    assert_eq!(bench.after(0.1).next_change, Some(due + Duration::from_secs(2)));
    bench.with_share(1.0);
    assert_eq!(bench.after(1.0).next_change, None);
    assert_eq!(bench.after(1.0).next_change, None);
}

#[test]
fn overflow_is_looked_at_once_what_was_sent_before_the_change_has_ended() {
    let mut bench = Bench::new("abbbcc");
    bench.service.service_time.observe(&[0, 100], |bucket| 3_500_000 * bucket as u64);
    bench.now += Duration::from_millis(100);
    bench.with_share(0.75);
    // The longest take 3.5 s: to the end of the fourth second, and two seconds of requests.
    let due = Duration::from_secs(106);
    assert_eq!(bench.after(0.1).next_change, Some(due));
    bench.service.service_time.observe(&[0, 1_000], |bucket| 20_000_000 * bucket as u64);
    assert_eq!(bench.after(0.1).next_change, Some(Duration::from_secs(113)), "ten at most");
}

#[test]
fn overflow_is_looked_at_anew_once_an_endpoint_changes_sides_or_one_at_home_is_lost() {
    type Change = fn(&mut Bench);
    let changes: [(Change, bool, &str); 8] = [
        (|_| (), true, "nothing"),
        (|bench| bench.endpoints.reverse(), true, "the order"),
        (|bench| _ = bench.endpoints.pop(), true, "one elsewhere"),
        (|bench| bench.endpoints[1].health = Health::Unready, true, "the health of one"),
        (|bench| _ = bench.endpoints.remove(0), true, "one at home that took nothing"),
        (|bench| _ = bench.endpoints.remove(1), false, "one at home that took requests"),
        (|bench| bench.endpoints[2].zone = Some("b".into()), false, "the zone of one at home"),
        (|bench| bench.endpoints[3].zone = Some("a".into()), false, "the zone of another"),
    ];
    for (change, stays, what) in changes {
        let mut bench = Bench::new("aaabbcc");
        bench.endpoints[0].health = Health::Unready;
        let before = bench.plan().zone_share.apart_since;
        assert_eq!(before, Some(bench.now));
        change(&mut bench);
        let after = bench.after(1.0).zone_share.apart_since;
        assert_eq!(after, if stays { before } else { Some(bench.now) }, "{what}");
    }
}

#[test]
fn the_rest_of_the_share_goes_to_the_nearest_other_group() {
    let mut bench = Bench::new("abc");
    bench.locality.region = Some("r".into());
    bench.endpoints[2].region = Some("r".into());
    bench.with_share(0.75);
    let plan = bench.plan();
    let shares: Vec<f64> = plan.groups.iter().map(|group| group.share).collect();
    assert_eq!(shares, [0.75, 0.25, 0.0]);
    assert!(plan.groups[0].reason.contains("lacks capacity"), "{}", plan.groups[0].reason);
    assert!(plan.groups[2].reason.contains("when the preferred group is full"));
    assert_eq!(bench.states(), [Serving, Standby, Serving]);
}

#[test]
fn an_agent_that_knows_only_its_node_prefers_what_is_hinted_for_it() {
    let mut bench = Bench::new("ab");
    bench.locality = Locality { node: Some("n".into()), ..Locality::default() };
    for (endpoint, node) in bench.endpoints.iter_mut().zip(["m", "n"]) {
        endpoint.hints = Some(Arc::new(Hints { zones: Vec::new(), nodes: vec![node.into()] }));
    }
    let groups = &bench.plan().groups;
    assert_eq!(
        (groups[0].name.as_str(), &groups[0].members[..]),
        ("hinted for this node", &[1][..])
    );
    assert_eq!((groups[1].name.as_str(), &groups[1].members[..]), ("other zones", &[0][..]));
}

#[test]
fn where_there_is_nothing_to_choose_between_the_share_is_all_again() {
    let mut bench = Bench::new("abbcc");
    bench.with_share(0.75);
    bench.endpoints[0].health = Health::Unready;
    let share = bench.plan().zone_share;
    assert_eq!((share.share, share.apart_since), (1.0, None));
}

#[test]
fn a_plan_says_why_zones_do_not_count() {
    let reason = |mode, zone: Option<&str>| {
        let mut bench = Bench::new("aa");
        bench.policy.zone = mode;
        bench.locality.zone = zone.map(Into::into);
        bench.endpoints.iter_mut().for_each(|each| each.zone = zone.map(Into::into));
        bench.plan().groups[0].reason.clone()
    };
    assert_eq!(reason(ZoneMode::Off, Some("a")), "zones are off by policy");
    assert_eq!(reason(ZoneMode::Strict, Some("a")), "zone a only, by policy");
    assert_eq!(reason(ZoneMode::Prefer, None), "the agent does not know its own zone");
    assert_eq!(reason(ZoneMode::Prefer, Some("a")), "the own zone is preferred");
}

#[test]
fn a_higher_priority_waits_until_nothing_of_a_lower_one_may_be_picked() {
    let mut bench = Bench::new("baab");
    bench.endpoints[1].priority = 1;
    bench.endpoints[2].priority = 1;
    let names = |plan: &Plan| -> Vec<(String, f64)> {
        plan.groups.iter().map(|group| (group.name.clone(), group.share)).collect()
    };
    let plan = bench.plan();
    let expected = [("other zones".to_owned(), 1.0), ("zone a, priority 1".to_owned(), 0.0)];
    assert_eq!(names(plan), expected);
    assert_eq!(plan.groups[0].spill_at, f32::MAX, "however full it is");
    assert_eq!(plan.groups[0].overflow, Some(1));
    assert_eq!(plan.endpoints[1].state, State::Standby);
    for index in [0, 3] {
        bench.endpoints[index].health = Health::Unready;
    }
    assert_eq!(names(bench.plan()), [("zone a, priority 1".to_owned(), 1.0)]);
}

#[test]
fn the_own_zone_s_share_is_of_its_own_priority() {
    let mut bench = Bench::new("aab");
    bench.endpoints[1].priority = 1;
    bench.endpoints[2].priority = 1;
    bench.with_share(0.5);
    let shares: Vec<f64> = bench.plan().groups.iter().map(|group| group.share).collect();
    assert_eq!(shares, [1.0, 0.0, 0.0], "no other zone has the first priority");
    bench.endpoints[2].priority = 0;
    bench.with_share(0.5);
    let shares: Vec<f64> = bench.plan().groups.iter().map(|group| group.share).collect();
    assert_eq!(shares, [0.5, 0.5, 0.0]);
}

proptest! {
    #[test]
    fn shares_sum_to_all_and_a_higher_tier_has_none_beside_a_lower_one(
        endpoints in prop::collection::vec(
            (0..3_usize, 0..2_usize, any::<bool>(), 0..3_u32, 0..3_u8), 1..8
        ),
        share in 0.1..1.0_f64,
    ) {
        let zones: String = endpoints.iter().map(|each| ["a", "b", "c"][each.0]).collect();
        let mut bench = Bench::new(&zones);
        bench.locality.region = Some("r".into());
        for (endpoint, (_, region, braked, weight, priority)) in
            bench.endpoints.iter_mut().zip(&endpoints)
        {
            endpoint.region = Some(["r", "s"][*region].into());
            (endpoint.braked, endpoint.weight) = (*braked, *weight);
            endpoint.priority = *priority;
        }
        bench.with_share(share);
        let plan = bench.plan();
        let all: f64 = plan.groups.iter().map(|group| group.share).sum();
        prop_assert!(plan.groups.is_empty() || (all - 1.0).abs() < 1e-9, "{:?}", plan.groups);
        let tiers: Vec<(bool, u8)> = (plan.groups.iter())
            .map(|group| &plan.endpoints[group.members[0] as usize].endpoint)
            .map(|endpoint| (endpoint.braked, if endpoint.braked { 0 } else { endpoint.priority }))
            .collect();
        prop_assert!(tiers.is_sorted(), "{:?}", plan.groups);
        for (index, (group, tier)) in plan.groups.iter().zip(&tiers).enumerate() {
            prop_assert!(*tier == tiers[0] || group.share == 0.0, "{:?}", plan.groups);
            let crosses = tiers.get(index + 1).is_some_and(|next| next != tier);
            prop_assert!(!crosses || group.spill_at == f32::MAX, "{:?}", plan.groups);
        }
        prop_assert!(plan.groups.is_empty() || plan.groups[0].share > 0.0, "{:?}", plan.groups);
    }
}
