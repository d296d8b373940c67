//! Which endpoints are ejected, for how long, and what the plan remembers of it.

use super::*;

impl Bench {
    /// Ejects the endpoint for the first time, and brings it back by three probes.
    fn ejected_and_back(&mut self, index: usize) {
        self.unreachable(index);
        self.plan();
        self.after(1.0);
        self.ended(index, 3, 0);
        self.after(0.1);
        assert_eq!(self.states()[index], Serving);
    }

    /// The time of the endpoint's last ejection.
    fn ejection(&mut self, index: usize) -> Duration {
        self.before().endpoints[index].outlier_state().last
    }
}

#[test]
fn a_further_ejection_is_twice_as_long_until_four_times_the_last_one_is_over() {
    for (wait, seconds) in [(3.9, 2), (4.0, 1)] {
        let mut bench = Bench::new("aaaa");
        bench.ejected_and_back(0);
        let forgotten_at = bench.now + Duration::from_secs(4);
        assert_eq!(bench.before().next_change, Some(forgotten_at));
        bench.after(wait);
        bench.unreachable(0);
        bench.plan();
        assert_eq!(bench.ejection(0), Duration::from_secs(seconds), "after {wait} s");
    }
}

#[test]
fn an_ejection_for_failures_is_no_shorter_for_a_shorter_one_before() {
    let mut bench = Bench::new("aaaa");
    bench.ejected_and_back(0);
    bench.ended(0, 20, 20);
    (1..4).for_each(|i| bench.ended(i, 20, 0));
    bench.after(1.0);
    assert_eq!((bench.states()[0], bench.ejection(0)), (Ejected, Duration::from_secs(5)));
}

#[test]
fn what_still_fails_at_an_ejected_endpoint_prolongs_nothing() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    let next = bench.plan().next_change;
    bench.unreachable(0);
    assert_eq!(bench.after(0.5).next_change, next);
    assert_eq!(bench.ejection(0), Duration::from_secs(1));
}

#[test]
fn an_endpoint_that_is_out_takes_nobody_s_place_among_the_ejected() {
    let mut bench = Bench::new("aaaa");
    bench.endpoints[0].health = Health::Unready;
    bench.unreachable(0);
    bench.unreachable(1);
    bench.plan();
    assert_eq!(bench.states(), [Out, Ejected, Serving, Serving]);
}

#[test]
fn one_without_a_connection_goes_before_one_that_fails_every_request() {
    let mut bench = Bench::new("aaaa");
    bench.ended(0, 100, 100);
    bench.unreachable(1);
    (2..4).for_each(|i| bench.ended(i, 100, 0));
    bench.plan();
    assert_eq!(bench.states(), [Serving, Ejected, Serving, Serving]);
}

#[test]
fn an_endpoint_takes_room_for_as_long_as_its_probes_succeed() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    bench.plan();
    bench.after(1.0);
    bench.ended(0, 1, 0);
    bench.after(9.0);
    bench.unreachable(1);
    assert_eq!(bench.after(9.9).endpoints[1].state, Serving, "ten seconds since the probe");
    assert_eq!(bench.after(0.1).endpoints[1].state, Ejected);
}

#[test]
fn what_is_in_flight_from_before_is_named_and_there_is_a_limit_however_much_it_is() {
    for (in_flight, limit) in [(0, 1), (8, 9), (u32::MAX, i32::MAX - 1)] {
        let mut bench = Bench::new("aaaa");
        bench.loads[0].in_flight = in_flight;
        bench.unreachable(0);
        bench.plan();
        assert_eq!(bench.after(1.0).endpoints[0].limit, limit);
        let named = bench.reason(0).contains(&format!("; {in_flight} in flight from before"));
        assert_eq!(named, in_flight > 0, "{}", bench.reason(0));
    }
}

#[test]
fn a_plan_is_due_when_an_open_probe_has_taken_too_long() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(0);
    bench.plan();
    assert_eq!(bench.after(1.0).next_change, None, "no probe is open");
    let too_long = bench.now + Duration::from_secs(10);
    bench.loads[0].in_flight = 1;
    assert_eq!(bench.after(0.1).next_change, Some(too_long));
}

#[test]
fn an_ejection_is_remembered_where_its_endpoint_stands_now() {
    let mut bench = Bench::new("aaaa");
    bench.unreachable(1);
    let until = bench.plan().next_change;
    bench.endpoints.reverse();
    bench.loads.reverse();
    assert_eq!(bench.after(0.5).next_change, until);
    assert_eq!(bench.states(), [Serving, Serving, Ejected, Serving]);
    bench.endpoints.remove(0);
    bench.loads.remove(0);
    assert_eq!(bench.after(0.1).next_change, until);
    assert_eq!(bench.states(), [Serving, Ejected, Serving]);
}

#[test]
fn who_is_on_probation_since_when_and_what_is_remembered_can_be_asked() {
    let mut bench = Bench::new("aaaa");
    bench.plan();
    assert_eq!(bench.before().outlier_states().count(), 0);
    bench.unreachable(2);
    bench.plan();
    let remembered: Vec<_> = bench.before().outlier_states().collect();
    let ejected = bench.before().endpoints[2].clone();
    assert_eq!(remembered, [(ejected.endpoint.address, ejected.outlier_state())]);
    assert_eq!((ejected.outlier_state().times, ejected.probed_since()), (1, None));
    bench.after(1.0);
    let began = bench.now;
    let since: Vec<_> = bench.after(0.1).endpoints.iter().map(|e| e.probed_since()).collect();
    assert_eq!(since, [None, None, Some(began), None]);
}
