//! Tests what a request in flight tells, counts and ends, as the socket sees it. Publications are on
//! virtual time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    InFlightGuard, Outcome, PickOptions, ServerLoad, ServiceTable, Tables, Target, shared::Shared,
};
use crate::{
    captured_log::capture,
    catalog::{
        Catalog, Change, Endpoint, Locality, Port, Service, ServiceName, Setting, SourceId,
        sample::{address, endpoint},
    },
    clock,
    identity::Identity,
    load::Counts,
    policy::ConfigPolicies,
};

const MS: Duration = Duration::from_millis(1);

const X: Identity = Identity::Uid(1);
const Y: Identity = Identity::Uid(2);

const fn by(caller: Identity) -> PickOptions<'static> {
    PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller }
}

/// A service without a publishing thread.
struct Stage {
    shared: Arc<Shared>,
    live: Arc<ServiceTable>,
    now: Duration,
}

impl Stage {
    /// `zones` as in "aa-" has one endpoint each, with the numbers 0, 1 and so on; - is no zone.
    /// The agent is in zone `own`. Zones do not decide which endpoint is picked.
    fn new(zones: &str, own: Option<&str>) -> Self {
        let in_zone = |(number, zone): (u8, char)| Endpoint {
            zone: (zone != '-').then(|| zone.to_string().into()),
            ..endpoint(number)
        };
        let endpoints = (0..).zip(zones.chars()).map(in_zone).collect();
        let name = ServiceName { name: "cart".into(), namespace: "shop".into(), cluster: None };
        let port = Port { name: None, number: Some(80), endpoints };
        let mut service = Service::new(name.clone(), "test", vec![port]);
        service.settings = [Setting::new("zone", "off", "test")].into();
        let catalog = Arc::new(Catalog::new(["test"]));
        catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
        let locality = Locality { zone: own.map(Into::into), ..Locality::default() };
        let shared = Shared::new(catalog, ConfigPolicies::default(), locality, 1);
        let shared = shared.expect("event descriptors");
        let target = Target {
            service: name,
            port: (None, Some(80)),
            selector: Default::default(),
            way: Default::default(),
        };
        let live = Tables::over(shared.clone()).open(&target);
        Self { shared, live: live.expect("memory").expect("the port"), now: clock::now() }
    }

    fn pick(&self, want: &PickOptions<'_>) -> InFlightGuard {
        self.live.pick_endpoints(want).expect("an endpoint").picks.remove(0)
    }

    /// Picks the endpoint with this number, of two.
    fn pick_of_two(&self, number: u8, caller: Identity) -> InFlightGuard {
        let held = self.pick(&PickOptions { exclude: &[address(1 - number)], ..by(caller) });
        assert_eq!(held.endpoint.address, address(number));
        held
    }

    fn pass_after(&mut self, time: Duration) {
        self.now += time;
        self.live.publisher().pass(self.now, MS);
    }

    /// What is in flight at all endpoints.
    fn in_flight(&mut self) -> u64 {
        self.now += MS;
        self.live.publisher().pass(self.now, MS).in_flight
    }

    /// What ended in the last ten seconds, at all endpoints.
    fn ended(&mut self) -> Counts {
        // The next pass plans, and takes in what ended before it.
        self.pass_after(100 * MS);
        let publisher = self.live.publisher();
        let each = publisher.loads().iter().map(|load| load.ring.sum(self.now, Duration::ZERO));
        each.fold(Counts::default(), |all, each| all.plus(&each))
    }

    fn fall_asleep(&mut self) {
        while !self.live.publisher().is_idle() {
            self.pass_after(MS);
        }
        self.live.publisher().lie_down();
    }
}

#[test]
fn a_request_counts_with_its_cost_until_it_ends() {
    let mut stage = Stage::new("aa", None);
    let held = stage.pick(&PickOptions { cost: 7, ..by(X) });
    assert_eq!((held.cost(), held.target()), (7, stage.live.target()));
    assert_eq!(stage.in_flight(), 7);
    held.end(Outcome::Success, None);
    assert_eq!(stage.in_flight(), 0);
    assert_eq!(stage.ended().succeeded(), 1);
}

#[test]
fn a_request_that_is_dropped_counts_as_cancelled() {
    let mut stage = Stage::new("aa", None);
    drop(stage.pick(&by(X)));
    assert_eq!(stage.in_flight(), 0);
    let ended = stage.ended();
    assert_eq!((ended.ended, ended.cancelled), (1, 1));
}

#[test]
fn a_pick_that_never_starts_counts_nowhere() {
    let mut stage = Stage::new("aa", None);
    let mut picked = stage.live.pick_endpoints(&PickOptions { count: 2, ..by(X) }).expect("two");
    let mut second = picked.picks.remove(1);
    picked.picks.remove(0).end(Outcome::Success, None);
    assert_eq!(stage.in_flight(), 0);
    second.start();
    second.start();
    assert_eq!(stage.in_flight(), 1, "it starts once");
    drop(second);
    let ended = stage.ended();
    assert_eq!((ended.ended, ended.cancelled), (2, 1));
}

#[test]
fn the_usual_time_is_a_guess_until_requests_were_timed() {
    let mut stage = Stage::new("aa", None);
    let held = stage.pick(&by(X));
    assert_eq!(held.usual_time(), 100 * MS);
    for _ in 0..50 {
        stage.pick(&by(X)).end(Outcome::Success, Some(8 * MS));
    }
    stage.ended();
    let usual = held.usual_time();
    assert!((7 * MS..=9 * MS).contains(&usual), "{usual:?}");
}

#[test]
fn a_request_of_thirty_seconds_is_timed_and_a_longer_one_is_a_stream() {
    for (latency, timed) in [(30_000 * MS, 1), (30_001 * MS, 0)] {
        let mut stage = Stage::new("aa", None);
        stage.pick(&by(X)).end(Outcome::Success, Some(latency));
        let ended = stage.ended();
        assert_eq!((ended.ended, ended.timed), (1, timed), "{latency:?}");
    }
}

#[test]
fn an_end_is_an_answer_if_the_server_gave_one() {
    let stage = Stage::new("aa", None);
    let ages = stage.live.publisher().ages();
    for (outcome, answers) in [
        (Outcome::Success, 1),
        (Outcome::Failure, 1),
        (Outcome::Rejected, 1),
        (Outcome::Cancelled, 0),
        (Outcome::Expired, 0),
        (Outcome::Unreachable, 0),
    ] {
        stage.pick(&by(X)).end(outcome, None);
        assert_eq!(ages.turn(|_, _, _| ()).ended, answers, "{outcome:?}");
    }
}

#[test]
fn a_retry_takes_from_the_budget_of_the_service() {
    let mut stage = Stage::new("aa", None);
    let held = stage.pick(&by(X));
    stage.ended();
    let left = |stage: &Stage| stage.live.publisher().retries_left(stage.now);
    let before = left(&stage);
    held.retried();
    stage.ended();
    assert_eq!(before - left(&stage), 1.0);
}

#[test]
fn a_reported_load_and_a_retry_wake_a_sleeping_table() {
    let mut stage = Stage::new("aa", None);
    let held = stage.pick(&by(X));
    let tells: [fn(&InFlightGuard); 2] =
        [|held| held.report_load(&ServerLoad::default()), InFlightGuard::retried];
    for tell in tells {
        stage.fall_asleep();
        assert!(stage.shared.wakeups.take().is_empty());
        tell(&held);
        assert_eq!(stage.shared.wakeups.take(), [stage.live.id()]);
        stage.live.publisher().get_up();
    }
}

#[test]
fn the_caller_whose_requests_fail_where_those_of_others_do_not_is_named_in_the_log() {
    let stage = Stage::new("aa", None);
    let (logged, guard) = capture();
    stage.pick_of_two(0, Y).end(Outcome::Success, None);
    stage.pick_of_two(0, X).end(Outcome::Unreachable, None);
    // The same again: the caller avoids the endpoint already.
    stage.pick_of_two(0, X).end(Outcome::Unreachable, None);
    drop(guard);
    let logged = String::from_utf8(logged.lock().expect("no panic").clone()).expect("UTF-8");
    let [line] = logged.lines().collect::<Vec<_>>()[..] else { panic!("{logged}") };
    for part in ["caller=uid 1", "service=cart.shop:80", "endpoint=10.0.0.0:80", "Unreachable"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn picks_say_how_many_of_them_are_in_another_zone() {
    for (zones, own, elsewhere) in
        [("aab", Some("a"), 1), ("abb", Some("a"), 2), ("ab-", Some("a"), 1), ("aab", None, 0)]
    {
        let stage = Stage::new(zones, own);
        let all = PickOptions { count: 3, ..by(X) };
        let picked = stage.live.pick_endpoints(&all).expect("endpoints");
        assert_eq!((picked.picks.len(), picked.elsewhere), (3, elsewhere), "{zones} from {own:?}");
    }
}

#[test]
fn a_pick_of_an_earlier_agent_counts_as_it_did_there() {
    let mut stage = Stage::new("aa", None);
    let held = stage.live.adopt(address(1), 3, true, X).expect("the endpoint is there");
    assert_eq!((held.endpoint.address, held.cost()), (address(1), 3));
    let mut waiting = stage.live.adopt(address(0), 5, false, X).expect("the endpoint is there");
    assert_eq!(stage.in_flight(), 3);
    waiting.start();
    assert_eq!(stage.in_flight(), 8);
    waiting.end(Outcome::Success, None);
    held.end(Outcome::Failure, None);
    assert_eq!(stage.in_flight(), 0);
    let ended = stage.ended();
    assert_eq!((ended.ended, ended.failed), (2, 1));
    assert!(stage.live.adopt(address(7), 1, true, X).is_none(), "its endpoint is gone");
}

#[test]
fn what_was_picked_is_explained() {
    let stage = Stage::new("aa", None);
    let chosen: Vec<SocketAddr> = (0..3).map(|_| stage.pick(&by(X)).endpoint.address).collect();
    let samples = stage.live.explain().samples;
    assert_eq!(samples.iter().filter_map(|sample| sample.chosen).collect::<Vec<_>>(), chosen);
}

#[test]
fn picks_tell_the_version_of_the_plan_that_they_follow() {
    let mut stage = Stage::new("aa", None);
    stage.pick_of_two(0, X).end(Outcome::Unreachable, None);
    stage.pass_after(MS);
    stage.live.show(&mut stage.live.publisher()).expect("memory");
    let picked = stage.live.pick_endpoints(&by(X)).expect("an endpoint");
    let explained = stage.live.explain();
    assert_eq!(picked.plan, explained.plan.version);
    assert!(picked.plan > 1, "the plan that ejects it is a new one");
}
