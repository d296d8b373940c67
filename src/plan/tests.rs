//! The planner's behaviour, in sentences.

use std::{sync::Arc, time::Duration};

use super::{Inputs, Plan, State, plan};
use crate::{
    catalog::{Endpoint, EndpointRef, Health, Hints, Locality},
    load::{Counts, EndpointLoad, ServiceLoad},
    policy::{Policy, ZoneMode},
};

mod decisions;
mod draws;
mod ejections;
mod priorities;
mod standing_bias;
mod zones;

/// A service under test: endpoints, what was observed, and the plans so far.
struct Bench {
    policy: Policy,
    locality: Locality,
    endpoints: Vec<Endpoint>,
    loads: Vec<EndpointLoad>,
    service: ServiceLoad,
    plan: Option<Plan>,
    now: Duration,
}

fn endpoint(number: u8, zone: &str) -> Endpoint {
    Endpoint { zone: Some(zone.into()), ..Endpoint::at(([10, 0, 0, number], 8080).into()) }
}

impl Bench {
    /// One endpoint for each letter of `zones`, such as "aab". The agent is in zone a.
    fn new(zones: &str) -> Self {
        let endpoints: Vec<Endpoint> =
            zones.chars().zip(1..).map(|(zone, n)| endpoint(n, &zone.to_string())).collect();
        Self {
            policy: Policy::default(),
            locality: Locality { zone: Some("a".into()), ..Locality::default() },
            loads: vec![EndpointLoad::default(); endpoints.len()],
            endpoints,
            service: ServiceLoad::default(),
            plan: None,
            now: Duration::from_secs(100),
        }
    }

    fn ended(&mut self, index: usize, ended: u32, failed: u32) {
        let new = Counts { ended, failed, ..Counts::default() };
        self.loads[index].observe(self.now, &new);
    }

    /// This many cancelled requests, which say nothing about the endpoint.
    fn cancelled(&mut self, index: usize, cancelled: u32) {
        let new = Counts { ended: cancelled, cancelled, ..Counts::default() };
        self.loads[index].observe(self.now, &new);
    }

    fn unreachable(&mut self, index: usize) {
        let new = Counts { ended: 1, failed: 1, unreachable: 1, ..Counts::default() };
        self.loads[index].observe(self.now, &new);
    }

    fn plan(&mut self) -> &Plan {
        let list: Arc<[Endpoint]> = self.endpoints.clone().into();
        let endpoints: Vec<EndpointRef> = EndpointRef::all(&list).collect();
        let loads: Vec<&EndpointLoad> = self.loads.iter().collect();
        let inputs = Inputs {
            policy: &self.policy,
            locality: &self.locality,
            endpoints: &endpoints,
            loads: &loads,
            service: &self.service,
            now: self.now,
        };
        let next = plan(&inputs, self.plan.as_ref());
        self.plan.insert(next)
    }

    /// The last plan, for changes.
    fn before(&mut self) -> &mut Plan {
        self.plan.as_mut().expect("planned")
    }

    fn after(&mut self, seconds: f64) -> &Plan {
        self.now += Duration::from_secs_f64(seconds);
        self.plan()
    }

    fn states(&self) -> Vec<State> {
        self.plan.as_ref().expect("planned").endpoints.iter().map(|e| e.state).collect()
    }

    fn reason(&self, index: usize) -> String {
        let planned = &self.plan.as_ref().expect("planned").endpoints[index];
        planned.factors.iter().map(|f| format!("{}: {}", f.name, f.reason)).collect()
    }
}

use State::{Ejected, Out, Probing, Serving, Standby};

#[test]
fn unready_endpoints_are_never_picked_and_draining_ones_only_when_nothing_is_ready() {
    let mut bench = Bench::new("aaa");
    bench.endpoints[0].health = Health::Unready;
    bench.endpoints[1].health = Health::Draining;
    bench.plan();
    assert_eq!(bench.states(), [Out, Out, Serving]);
    bench.endpoints[2].health = Health::Unready;
    bench.plan();
    assert_eq!(bench.states(), [Out, Serving, Out]);
    assert!(bench.reason(1).contains("nothing is ready"), "{}", bench.reason(1));
}

#[test]
fn a_draining_endpoint_serves_beside_one_that_is_ready_but_gets_no_traffic() {
    let mut bench = Bench::new("aa");
    bench.endpoints[0].health = Health::Draining;
    bench.endpoints[1].weight = 0;
    bench.plan();
    assert_eq!(bench.states(), [Serving, Out]);
}

#[test]
fn weight_0_takes_no_traffic_and_the_others_average_1() {
    let mut bench = Bench::new("aaa");
    bench.policy.zone = ZoneMode::Off;
    (bench.endpoints[0].weight, bench.endpoints[1].weight, bench.endpoints[2].weight) = (0, 9, 1);
    let plan = bench.plan();
    assert_eq!(plan.endpoints[0].group, None);
    assert_eq!((plan.endpoints[1].weight, plan.endpoints[2].weight), (1.8, 0.2));
}

#[test]
fn the_own_zone_takes_the_draws_and_overflows_into_the_others() {
    let mut bench = Bench::new("abc");
    let plan = bench.plan();
    assert_eq!(plan.groups.len(), 2);
    assert_eq!((plan.groups[0].share, plan.groups[1].share), (1.0, 0.0));
    assert_eq!(plan.groups[0].overflow, Some(1));
    assert_eq!(bench.states(), [Serving, Standby, Standby]);
}

#[test]
fn without_an_endpoint_in_the_own_zone_all_others_serve() {
    let mut bench = Bench::new("bbc");
    let plan = bench.plan();
    assert_eq!((plan.groups.len(), plan.groups[0].share), (1, 1.0));
    assert_eq!(plan.groups[0].reason, "");
    assert_eq!(bench.states(), [Serving; 3]);
}

#[test]
fn the_own_region_comes_before_other_regions() {
    let mut bench = Bench::new("abc");
    bench.locality.region = Some("r".into());
    bench.endpoints[2].region = Some("r".into());
    let plan = bench.plan();
    let names: Vec<&str> = plan.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["zone a", "region r", "other zones"]);
    assert_eq!((&plan.groups[1].members[..], &plan.groups[2].members[..]), (&[2][..], &[1][..]));
    assert_eq!(plan.groups[1].overflow, Some(2));
}

#[test]
fn hints_of_the_source_say_what_is_near_in_place_of_its_zones() {
    let mut bench = Bench::new("aab");
    let for_zone =
        |zone: &str| Some(Arc::new(Hints { zones: vec![zone.into()], nodes: Vec::new() }));
    for (endpoint, zone) in bench.endpoints.iter_mut().zip(["a", "b", "a"]) {
        endpoint.hints = for_zone(zone);
    }
    assert_eq!(bench.plan().groups[0].members, [0, 2]);
    bench.endpoints[0].hints = None;
    assert_eq!(bench.plan().groups[0].members, [0, 1], "all or nothing");
}

#[test]
fn strict_zones_never_cross_even_when_everything_at_home_fails() {
    let mut bench = Bench::new("aab");
    bench.policy.zone = ZoneMode::Strict;
    bench.policy.outlier.max_ejected = 1.0;
    for index in 0..2 {
        bench.unreachable(index);
    }
    let plan = bench.plan();
    assert!(plan.notes[0].starts_with("panic"), "{:?}", plan.notes);
    assert_eq!(bench.states(), [Serving, Serving, Out]);
    assert!(bench.reason(2).contains("strict"));
}

#[test]
fn a_braked_endpoint_comes_after_all_others() {
    let mut bench = Bench::new("ab");
    bench.endpoints[0].braked = true;
    let plan = bench.plan();
    let last = plan.groups.last().expect("two groups");
    assert_eq!((&last.members[..], last.name.as_str()), (&[0][..], "kept by the brake"));
    assert!(last.reason.contains("dropped most endpoints"), "{}", last.reason);
    assert_eq!(bench.states(), [Standby, Serving]);
}

#[test]
fn what_the_brake_kept_is_not_reached_by_overflow_but_only_where_nothing_else_can_be_picked() {
    let mut bench = Bench::new("aabbbb");
    (2..6).for_each(|i| bench.endpoints[i].braked = true);
    let plan = bench.plan();
    let own = &plan.groups[0];
    assert_eq!((own.overflow, own.spill_at), (Some(1), f32::MAX));
    assert_eq!(plan.zone_share.share, 1.0);
    bench.endpoints[2].braked = false;
    let plan = bench.plan();
    let spills: Vec<bool> = plan.groups.iter().map(|g| g.spill_at < f32::MAX).collect();
    assert_eq!(spills, [true, false, false], "into the other zone, and no further");
}

#[test]
fn what_the_brake_kept_does_not_count_as_ready() {
    let mut bench = Bench::new("aaaaaa");
    (2..6).for_each(|i| bench.endpoints[i].braked = true);
    bench.policy.outlier.max_ejected = 0.5;
    bench.unreachable(0);
    bench.unreachable(1);
    bench.plan();
    let serving = bench.states().iter().filter(|s| **s == Serving).count();
    assert_eq!(serving, 1, "one of two ready ones may go, not three of six: {:?}", bench.states());
}

#[test]
fn a_draining_endpoint_comes_before_what_the_brake_kept() {
    let mut bench = Bench::new("aaa");
    bench.endpoints[0].health = Health::Draining;
    (1..3).for_each(|i| bench.endpoints[i].braked = true);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Standby, Standby]);
}

#[test]
fn strict_zones_never_cross_when_nothing_at_home_is_ready() {
    let mut bench = Bench::new("aab");
    bench.policy.zone = ZoneMode::Strict;
    (0..2).for_each(|i| bench.endpoints[i].health = Health::Unready);
    let plan = bench.plan();
    assert!(plan.groups.is_empty());
    assert_eq!(bench.states(), [Out; 3]);
    bench.endpoints[0].health = Health::Draining;
    bench.plan();
    assert_eq!(bench.states(), [Serving, Out, Out], "what is ready elsewhere does not count");
}

#[test]
fn strict_zones_need_to_know_the_zones() {
    let mut bench = Bench::new("ab");
    bench.policy.zone = ZoneMode::Strict;
    bench.endpoints[1].zone = None;
    bench.plan();
    assert_eq!(bench.states(), [Serving, Out]);
    assert!(bench.reason(1).contains("not known to be in zone a"), "{}", bench.reason(1));
    bench.locality.zone = None;
    bench.plan();
    assert_eq!(bench.states(), [Out, Serving], "neither knows of zones: nothing is crossed");
    assert!(bench.reason(0).contains("the agent does not know its own"), "{}", bench.reason(0));
}

#[test]
fn a_failing_endpoint_is_ejected_after_a_handful_of_requests() {
    let mut bench = Bench::new("aaaa");
    bench.ended(0, 4, 4);
    (1..4).for_each(|i| bench.ended(i, 10, 0));
    bench.plan();
    assert_eq!(bench.states()[0], Serving, "four are fewer than min_requests");
    bench.ended(0, 1, 1);
    bench.plan();
    assert_eq!(bench.states(), [Ejected, Serving, Serving, Serving]);
    assert!(bench.reason(0).contains("time 1 in a row"), "{}", bench.reason(0));
}

#[test]
fn who_begins_to_fail_is_not_saved_by_how_well_it_was() {
    let mut bench = Bench::new("aaaa");
    (0..4).for_each(|i| bench.ended(i, 1_000, 0));
    bench.now += Duration::from_secs(1);
    bench.ended(0, 19, 19);
    (1..4).for_each(|i| bench.ended(i, 100, 0));
    bench.plan();
    assert_eq!(bench.states()[0], Serving, "too few to speak against a thousand");
    bench.ended(0, 1, 1);
    bench.plan();
    assert_eq!(bench.states(), [Ejected, Serving, Serving, Serving]);
}

#[test]
fn a_few_of_the_newest_requests_speak_only_when_they_are_far_worse() {
    let mut bench = Bench::new("aaaa");
    (0..4).for_each(|i| bench.ended(i, 1_000, 0));
    bench.now += Duration::from_secs(1);
    bench.ended(0, 30, 20);
    bench.plan();
    assert_eq!(bench.states()[0], Serving);
}

#[test]
fn a_failure_that_all_share_ejects_and_biases_nobody() {
    let mut bench = Bench::new("aaaa");
    (0..4).for_each(|i| bench.ended(i, 100, 60));
    let plan = bench.plan();
    assert!(plan.endpoints.iter().all(|e| e.state == Serving && e.weight == 1.0));
    assert!(plan.endpoints.iter().all(|e| e.factors.is_empty()), "nothing is said of it");
}

#[test]
fn a_few_failures_take_weight_but_do_not_eject() {
    let mut bench = Bench::new("aaaa");
    bench.ended(0, 100, 30);
    (1..4).for_each(|i| bench.ended(i, 100, 0));
    bench.plan();
    let weight = bench.plan.as_ref().expect("planned").endpoints[0].weight;
    assert!((0.45..0.6).contains(&weight), "{weight}");
    assert_eq!(bench.states()[0], Serving);
    assert!(bench.reason(0).contains("30 of 100"), "{}", bench.reason(0));
}

#[test]
fn a_bias_is_the_square_of_the_rate_compared_with_the_others_after_a_credit_of_ten() {
    let mut bench = Bench::new("aaaa");
    bench.policy.outlier.min_requests = 1000;
    bench.ended(0, 100, 60);
    (1..4).for_each(|i| bench.ended(i, 100, 20));
    // The rate is 48 of 110, while the others have 0.8.
    let weights: Vec<f64> = bench.plan().endpoints.iter().map(|e| e.weight).collect();
    assert_eq!(weights, [19.0 / 64.0, 1.0, 1.0, 1.0]);
}

#[test]
fn an_endpoint_that_is_out_is_not_said_to_have_failures() {
    let mut bench = Bench::new("aaaa");
    bench.endpoints[0].health = Health::Unready;
    (0..2).for_each(|i| bench.ended(i, 100, 20));
    (2..4).for_each(|i| bench.ended(i, 100, 0));
    bench.plan();
    assert!(!bench.reason(0).contains("error_bias"), "{}", bench.reason(0));
    assert!(bench.reason(1).contains("error_bias: 20 of 100"), "{}", bench.reason(1));
}

#[test]
fn an_unreachable_endpoint_goes_at_once() {
    let mut bench = Bench::new("aaaa");
    bench.plan();
    bench.unreachable(2);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Serving, Ejected, Serving]);
}

#[test]
fn an_ejected_endpoint_returns_by_one_probe_at_a_time() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    let next = bench.plan().next_change.expect("the ejection ends");
    assert_eq!(next, bench.now + Duration::from_secs(1));
    let plan = bench.after(1.0);
    assert_eq!((plan.endpoints[0].state, plan.endpoints[0].limit), (Probing, 1));
    bench.ended(0, 2, 0);
    assert_eq!(bench.after(0.1).endpoints[0].state, Probing);
    bench.ended(0, 1, 0);
    let plan = bench.after(0.1);
    assert_eq!((plan.endpoints[0].state, plan.endpoints[0].limit), (Serving, i32::MAX));
}

#[test]
fn a_failed_probe_doubles_the_ejection_up_to_its_longest() {
    let mut bench = Bench::new("aaaa");
    bench.policy.outlier.max_ejection = Duration::from_secs(4);
    bench.unreachable(0);
    bench.plan();
    for length in [2.0, 4.0, 4.0] {
        let wait = bench.plan.as_ref().and_then(|p| p.next_change).expect("ejected") - bench.now;
        assert_eq!(bench.after(wait.as_secs_f64()).endpoints[0].state, Probing);
        bench.unreachable(0);
        let next = bench.plan().next_change.expect("ejected again");
        assert_eq!((next - bench.now).as_secs_f64(), length);
    }
}

#[test]
fn what_is_in_flight_since_before_an_ejection_takes_no_probe_s_place() {
    let mut bench = Bench::new("aaaa");
    bench.loads[0].in_flight = 8;
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.after(1.0).endpoints[0].limit, 9, "a probe beside the eight");
    bench.loads[0].in_flight = 9;
    assert_eq!(bench.after(0.1).endpoints[0].limit, 9, "the probe is open");
    bench.loads[0].in_flight = 3;
    assert_eq!(bench.after(0.1).endpoints[0].limit, 4, "it has ended, and so have five of eight");
    bench.loads[0].in_flight = 4;
    assert_eq!(bench.after(9.9).endpoints[0].limit, 4);
    assert_eq!(bench.after(0.1).endpoints[0].limit, 5, "a probe that stays open is a stream");
    bench.ended(0, 3, 0);
    assert_eq!(bench.after(0.1).endpoints[0].state, Serving);
}

#[test]
fn probes_that_nobody_judged_bring_nobody_back_and_doom_nobody() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    bench.plan();
    bench.after(1.0);
    for _ in 0..100 {
        bench.cancelled(0, 4);
        assert_eq!(bench.after(1.0).endpoints[0].state, Probing);
    }
    assert_eq!(bench.plan().endpoints[0].limit, 1);
    bench.ended(0, 3, 0);
    assert_eq!(bench.plan().endpoints[0].state, Serving);
}

#[test]
fn where_all_judged_requests_failed_it_goes_however_many_were_cancelled() {
    let mut bench = Bench::new("aaaa");
    bench.ended(0, 5, 5);
    bench.cancelled(0, 8);
    (1..4).for_each(|i| bench.ended(i, 10, 0));
    bench.plan();
    assert_eq!(bench.states(), [Ejected, Serving, Serving, Serving]);
}

#[test]
fn an_ejection_that_no_probe_ends_keeps_no_other_endpoint_in() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    bench.plan();
    bench.after(1.0);
    bench.ended(1, 38, 33);
    bench.plan();
    assert_eq!(bench.states(), [Probing, Serving, Serving, Serving], "there is room for one");
    bench.now += Duration::from_secs(9);
    bench.ended(1, 38, 33);
    bench.after(1.0);
    assert_eq!(bench.states(), [Probing, Ejected, Serving, Serving]);
}

#[test]
fn who_waits_for_a_probe_serves_before_all_that_fail_do() {
    let mut bench = Bench::new("aa");
    bench.loads[0].in_flight = 8;
    bench.unreachable(0);
    bench.plan();
    bench.after(1.0);
    bench.now += Duration::from_secs(10);
    bench.ended(1, 38, 33);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Ejected]);
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Serving], "panic");
}

#[test]
fn an_endpoint_with_a_request_now_and_then_is_judged_by_the_last_of_them() {
    let mut bench = Bench::new("aaaa");
    for index in (0..4).cycle().take(40) {
        bench.ended(index, 1, 0);
        bench.after(15.0);
    }
    for failures in 0..5 {
        assert_eq!(bench.states()[0], Serving, "after {failures}");
        bench.ended(0, 1, 1);
        bench.plan();
        (1..4).for_each(|i| bench.ended(i, 1, 0));
        bench.after(300.0);
    }
    assert!(bench.plan.as_ref().expect("planned").endpoints[0].outlier_state().times == 1);
}

#[test]
fn three_failures_that_took_long_weigh_like_many() {
    let slow =
        |failed| Counts { ended: failed, failed, lost_ms: failed * 1_000, ..Counts::default() };
    let mut bench = Bench::new("aaaa");
    bench.service.service_time.observe(&[0, 100], |bucket| 10_000 * bucket as u64);
    (1..4).for_each(|i| bench.ended(i, 100, 0));
    bench.now += Duration::from_secs(2);
    let now = bench.now;
    bench.loads[0].observe(now, &slow(2));
    bench.plan();
    assert_eq!(bench.states()[0], Serving, "two can be bad luck");
    bench.loads[0].observe(now, &slow(1));
    bench.plan();
    assert_eq!(bench.states()[0], Serving, "what succeeded while they waited is not known yet");
    bench.after(1.0);
    assert_eq!(bench.states()[0], Ejected);
    assert!(bench.plan.as_ref().expect("planned").endpoints[0].outlier_state().times == 1);
}

#[test]
fn no_more_than_the_policy_s_share_is_ejected_the_worst_first() {
    let mut bench = Bench::new("aaaaaa");
    for (index, failed) in [60, 100, 90, 0, 0, 0].into_iter().enumerate() {
        bench.ended(index, 100, failed);
    }
    bench.plan();
    assert_eq!(bench.states(), [Serving, Ejected, Ejected, Serving, Serving, Serving]);
    assert!(bench.reason(0).contains("at most 33%"), "{}", bench.reason(0));
}

#[test]
fn one_of_two_may_be_ejected_and_a_lone_endpoint_never() {
    let mut bench = Bench::new("aa");
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.states(), [Ejected, Serving]);
    let mut bench = Bench::new("a");
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.states(), [Serving]);
}

#[test]
fn panic_undoes_ejection_bias_and_zone_preference_but_not_the_source() {
    let mut bench = Bench::new("aaabb");
    bench.policy.outlier.max_ejected = 1.0;
    bench.endpoints[4].health = Health::Unready;
    (0..3).for_each(|i| bench.unreachable(i));
    let plan = bench.plan();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(plan.groups[0].reason, "zone preference is off in panic");
    assert!(plan.notes[0].contains("1 of 4"), "{:?}", plan.notes);
    assert_eq!(bench.states(), [Serving, Serving, Serving, Serving, Out]);
    assert!(bench.reason(0).contains("undone by panic"), "{}", bench.reason(0));
}

#[test]
fn ejections_survive_an_update_that_moves_the_endpoints() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(1);
    bench.plan();
    bench.endpoints.reverse();
    bench.loads.reverse();
    bench.plan();
    assert_eq!(bench.states(), [Serving, Serving, Ejected, Serving]);
}

#[test]
fn another_pod_at_the_address_of_an_ejected_one_begins_anew() {
    let pod = |number| std::num::NonZeroU64::new(number);
    let mut bench = Bench::new("aaaa");
    bench.endpoints[1].pod = pod(1);
    bench.unreachable(1);
    bench.plan();
    assert_eq!(bench.states(), [Serving, Ejected, Serving, Serving]);
    bench.endpoints[1].pod = pod(2);
    bench.loads[1] = EndpointLoad::default();
    bench.plan();
    assert_eq!(bench.states(), [Serving; 4]);
    bench.unreachable(1);
    bench.plan();
    assert_eq!(bench.states()[1], Ejected, "by its own failures");
}

#[test]
fn the_version_grows_only_with_a_decision() {
    let mut bench = Bench::new("aaaa");
    let first = bench.plan().version;
    (0..4).for_each(|i| bench.ended(i, 100, 0));
    assert_eq!(bench.after(1.0).version, first);
    bench.unreachable(0);
    assert_eq!(bench.plan().version, first + 1);
}

#[test]
fn a_zone_that_lacks_capacity_gives_part_of_its_draws_away_in_small_steps() {
    // One endpoint in the own zone, five in two other zones: with equal callers it can take half of the
    // requests here.
    let mut bench = Bench::new("abbbcc");
    bench.plan();
    let mut shares = Vec::new();
    for _ in 0..12 {
        bench.now += Duration::from_secs(2);
        bench.ended(0, 100, 0);
        bench.ended(1, 400, 0);
        shares.push(bench.plan().groups[0].share);
    }
    assert!(shares.windows(2).all(|w| w[0] - w[1] <= 1.0 / 16.0 + 1e-9), "{shares:?}");
    assert_eq!(shares.last(), Some(&0.5), "{shares:?}");
}

#[test]
fn an_endpoint_of_the_own_zone_that_is_replaced_takes_no_share_from_the_zone() {
    let mut bench = Bench::new("abbcc");
    bench.plan();
    // A fifth overflows, which is acceptable.
    for _ in 0..6 {
        bench.ended(0, 40, 0);
        bench.ended(1, 10, 0);
        bench.after(1.0);
    }
    assert_eq!(bench.plan().groups[0].share, 1.0);
    // A new endpoint replaces the one that took all requests of the own zone.
    (bench.endpoints[0], bench.loads[0]) = (endpoint(9, "a"), EndpointLoad::default());
    for _ in 0..6 {
        assert_eq!(bench.plan().groups[0].share, 1.0);
        bench.after(0.4);
        bench.ended(0, 16, 0);
        bench.ended(1, 4, 0);
    }
}

#[test]
fn what_an_ejected_endpoint_of_the_own_zone_had_is_no_overflow() {
    let mut bench = Bench::new("aaabbbccc");
    bench.plan();
    for _ in 0..6 {
        (0..3).for_each(|i| bench.ended(i, 50, 0));
        bench.after(1.0);
    }
    (0..3).for_each(|i| bench.ended(i, 50, 0));
    bench.unreachable(0);
    bench.after(1.0);
    assert_eq!(bench.states()[0], Ejected);
    assert_eq!(bench.after(0.1).groups[0].share, 1.0);
}

#[test]
fn what_went_everywhere_in_panic_is_no_overflow_after_it() {
    let mut bench = Bench::new("abbcc");
    bench.policy.outlier.max_ejected = 1.0;
    (0..4).for_each(|i| bench.unreachable(i));
    assert!(bench.plan().notes[0].starts_with("panic"));
    for _ in 0..9 {
        (0..5).for_each(|i| bench.ended(i, 20, 0));
        assert_eq!(bench.after(0.1).groups[0].name, "all");
    }
    for _ in 0..40 {
        let own = &bench.after(0.1).groups[0];
        assert_eq!((own.name.as_str(), own.share), ("zone a", 1.0));
        bench.ended(0, 20, 0);
    }
}

#[test]
fn a_zone_that_lacks_capacity_from_its_first_endpoint_on_gives_part_of_its_draws_away() {
    let mut bench = Bench::new("abbbcc");
    bench.endpoints[0].health = Health::Unready;
    for _ in 0..50 {
        bench.ended(1, 50, 0);
        bench.after(0.1);
    }
    bench.endpoints[0].health = Health::Ready;
    let mut shares = vec![bench.plan().groups[0].share];
    for _ in 0..300 {
        bench.ended(0, 10, 0);
        bench.ended(1, 40, 0);
        shares.push(bench.after(0.1).groups[0].share);
    }
    // Two seconds count, and a little more, because ends are counted by the second.
    let first = shares.iter().position(|share| *share < 1.0);
    assert!(first.is_some_and(|first| (20..=31).contains(&first)), "{first:?}");
    assert_eq!(shares.last(), Some(&0.5), "{shares:?}");
}

#[test]
fn where_only_what_the_brake_kept_serves_nothing_is_said_to_drain() {
    let mut bench = Bench::new("aa");
    bench.endpoints.iter_mut().for_each(|endpoint| endpoint.braked = true);
    let plan = bench.plan();
    assert_eq!((plan.notes.len(), plan.groups[0].share), (0, 1.0));
    assert_eq!(bench.states(), [Serving; 2]);
    bench.endpoints[0] = Endpoint { health: Health::Draining, braked: false, ..endpoint(1, "a") };
    assert_eq!(bench.plan().notes, ["no endpoint is ready: draining ones serve"]);
}
