//! Tests the publishing thread with a real catalog, on the real clock.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Outcome, PickOptions, ServiceTable, Tables, Target};
use crate::{
    catalog::{Catalog, Change, Endpoint, Health, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    plan::State,
    policy::ConfigPolicies,
};

const ANY: PickOptions<'_> = by(Identity::Uid(0));

const fn by(caller: Identity) -> PickOptions<'static> {
    PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller }
}

fn service(addresses: &[&str]) -> Service {
    let endpoints =
        addresses.iter().map(|address| Endpoint::at(address.parse().expect("an address")));
    let name = ServiceName { name: "cart".into(), namespace: "shop".into(), cluster: None };
    let port = Port { name: None, number: Some(80), endpoints: endpoints.collect() };
    Service::new(name, "test", vec![port])
}

struct World {
    catalog: Arc<Catalog>,
    tables: Tables,
}

impl World {
    fn new(addresses: &[&str]) -> (Self, Arc<ServiceTable>) {
        let catalog = Arc::new(Catalog::new(["test"]));
        let policies = ConfigPolicies::default();
        let tables =
            Tables::start(catalog.clone(), policies, Locality::default(), 1).expect("a thread");
        let world = Self { catalog, tables };
        world.set(addresses);
        let live = world.open(service(&[]).name);
        (world, live)
    }

    fn open(&self, service: ServiceName) -> Arc<ServiceTable> {
        let target = Target {
            service,
            port: (None, Some(80)),
            selector: Default::default(),
            way: Default::default(),
        };
        self.tables.open(&target).expect("memory").expect("the port")
    }

    fn set(&self, addresses: &[&str]) {
        self.catalog.apply(SourceId(0), Change::Upsert(service(addresses)), clock::now());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tables.stop();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = clock::now();
    while !holds() {
        assert!(clock::now() - start < Duration::from_secs(5), "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn address(live: &ServiceTable) -> SocketAddr {
    let mut picked = live.pick_endpoints(&ANY).expect("an endpoint");
    let held = picked.picks.remove(0);
    let address = held.endpoint.address;
    held.end(Outcome::Success, Some(Duration::from_millis(3)));
    address
}

#[test]
fn a_changed_service_changes_its_picks() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    assert_eq!(address(&live), "10.0.0.1:80".parse().expect("an address"));
    // Both endpoints first: one step would be a mass removal, which the brake holds.
    world.set(&["10.0.0.1:80", "10.0.0.2:80"]);
    world.set(&["10.0.0.2:80"]);
    let next: SocketAddr = "10.0.0.2:80".parse().expect("an address");
    eventually("the new endpoint is picked", || address(&live) == next);
}

#[test]
fn a_changed_service_does_not_wait_for_a_sleeping_thread() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    let period = || world.tables.numbers().period_ns.load(Relaxed);
    let mut waited = 0;
    for turn in 1..=20 {
        let next = format!("10.0.1.{turn}:80");
        let next: SocketAddr = next.parse().expect("an address");
        eventually("it sleeps", || period() == 0);
        let changed = clock::now();
        world.set(&[&next.to_string()]);
        eventually("the new endpoint is known", || live.endpoints()[0].endpoint.address == next);
        if clock::now() - changed > Duration::from_millis(100) {
            waited += 1;
        }
    }
    // The thread sleeps for up to half a second. A machine may be slow now and then.
    assert!(waited <= 5, "{waited} of 20 changes took a fifth of a sleep or longer");
}

#[test]
fn an_idle_publisher_sleeps_and_the_next_pick_wakes_it() {
    let (world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    let numbers = world.tables.numbers();
    for _ in 0..5 {
        eventually("it sleeps", || numbers.period_ns.load(Relaxed) == 0);
        let asleep_at = numbers.passes.load(Relaxed);
        let held = live.pick_endpoints(&ANY).expect("an endpoint");
        eventually("it publishes", || {
            live.endpoints().iter().map(|e| e.in_flight).sum::<u32>() == 1
        });
        assert!(numbers.passes.load(Relaxed) > asleep_at);
        drop(held);
    }
    assert_eq!(numbers.late_wakeups.load(Relaxed), 0);
}

#[test]
fn an_endpoint_that_the_brake_kept_goes_with_the_first_failed_connection() {
    let (world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    world.set(&[]);
    eventually("the brake keeps both", || live.endpoints().iter().all(|e| e.endpoint.braked));
    let held = live.pick_endpoints(&ANY).expect("a braked endpoint").picks.remove(0);
    let gone = held.endpoint.address;
    held.end(Outcome::Unreachable, None);
    eventually("it is let go", || live.endpoints().iter().all(|e| e.endpoint.address != gone));
}

#[test]
fn an_endpoint_that_drains_is_picked_before_what_the_brake_kept() {
    let (world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let draining = || {
        let at = "10.0.0.1:80".parse().expect("an address");
        Endpoint { health: Health::Draining, ..Endpoint::at(at) }
    };
    let say = |others: &[&str]| {
        let mut changed = service(others);
        let endpoints = std::iter::once(draining()).chain(changed.ports[0].endpoints.to_vec());
        changed.ports[0].endpoints = endpoints.collect();
        world.catalog.apply(SourceId(0), Change::Upsert(changed), clock::now());
    };
    say(&["10.0.0.2:80", "10.0.0.3:80"]);
    say(&[]);
    let held = |live: &ServiceTable| live.endpoints().iter().filter(|e| e.endpoint.braked).count();
    eventually("the brake keeps the two", || held(&live) == 2);
    for _ in 0..40 {
        assert_eq!(address(&live), draining().address);
    }
}

#[test]
fn several_picks_are_distinct_and_only_the_first_is_in_flight() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let mut picked = live.pick_endpoints(&PickOptions { count: 9, ..ANY }).expect("endpoints");
    assert_eq!(picked.picks.len(), 3);
    let in_flight = || live.endpoints().iter().map(|e| e.in_flight).sum::<u32>();
    eventually("one is in flight", || in_flight() == 1);
    picked.picks[2].start();
    eventually("two are in flight", || in_flight() == 2);
    drop(picked);
    eventually("none is left", || in_flight() == 0);
}

#[test]
fn no_endpoint_says_what_keeps_each_from_serving() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    let exclude: Vec<SocketAddr> = live.endpoints().iter().map(|e| e.endpoint.address).collect();
    let error = live
        .pick_endpoints(&PickOptions { exclude: &exclude, ..ANY })
        .expect_err("all are excluded");
    assert_eq!(
        error.to_string(),
        "no endpoint of cart.shop:80 can serve: 2 endpoints: 2 excluded by the request"
    );
}

#[test]
fn a_removed_service_leaves_no_table_but_what_is_held_can_end() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    let held = live.pick_endpoints(&ANY).expect("an endpoint");
    let name = service(&[]).name;
    world.catalog.apply(SourceId(0), Change::Remove(name), clock::now());
    eventually("the table is gone", || world.tables.all().is_empty());
    drop(held);
    let error = live.pick_endpoints(&ANY).expect_err("no endpoint is left");
    assert!(error.to_string().contains("knows no endpoint"), "{error}");
}

const HERE: Identity = Identity::Uid(1);
const DENIED: Identity = Identity::Uid(2);

/// Makes a request of this caller, which can reach all endpoints except `out_of_reach`.
fn request(live: &ServiceTable, caller: Identity, out_of_reach: &[SocketAddr]) -> SocketAddr {
    let held = live.pick_endpoints(&by(caller)).expect("endpoints").picks.remove(0);
    let address = held.endpoint.address;
    let outcome = match out_of_reach.contains(&address) {
        true => Outcome::Unreachable,
        false => Outcome::Success,
    };
    held.end(outcome, Some(Duration::from_millis(1)));
    address
}

fn ejected(live: &ServiceTable) -> usize {
    live.endpoints().iter().filter(|endpoint| endpoint.state == State::Ejected).count()
}

#[test]
fn whatever_one_caller_s_requests_cost_another_s_go_where_fewer_are() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    let addresses: [SocketAddr; 2] = ["10.0.0.1:80", "10.0.0.2:80"].map(|a| a.parse().unwrap());
    let mut held = Vec::new();
    for exclude in addresses.chunks(1).cycle().take(40) {
        let costly = PickOptions { exclude, cost: 10_000, ..by(Identity::Uid(1)) };
        held.extend(live.pick_endpoints(&costly).expect("the other one").picks);
    }
    for _ in 0..5 {
        let modest = PickOptions { exclude: &addresses[1..], ..by(Identity::Uid(2)) };
        held.extend(live.pick_endpoints(&modest).expect("the first").picks);
    }
    eventually("what is in flight is told", || {
        let endpoints = live.endpoints();
        endpoints.iter().map(|endpoint| endpoint.in_flight).sum::<u32>() == 400_005
    });
    for _ in 0..20 {
        let picked = live.pick_endpoints(&by(Identity::Uid(2))).expect("one of two").picks;
        assert_eq!(picked[0].endpoint.address, addresses[1]);
        picked.into_iter().for_each(|pick| pick.end(Outcome::Success, None));
    }
    held.into_iter().for_each(|pick| pick.end(Outcome::Success, None));
}

#[test]
fn who_alone_can_not_reach_an_endpoint_is_kept_from_it_alone() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let denied = ["10.0.0.1:80".parse().expect("an address")];
    for _ in 0..30 {
        request(&live, HERE, &[]);
    }
    let start = clock::now();
    let mut tried = 0;
    let mut others_there = 0;
    for _ in 0..200 {
        others_there += u32::from(request(&live, HERE, &[]) == denied[0]);
        tried += u32::from(request(&live, DENIED, &denied) == denied[0]);
        assert_eq!(ejected(&live), 0);
        std::thread::sleep(Duration::from_millis(2));
    }
    // Tries at once, after a second, after two more, and after four more.
    let most = 2 + ((clock::now() - start).as_secs_f64() + 1.0).log2() as u32;
    assert!(tried <= most, "{tried} of {most}");
    assert!(others_there > 30, "{others_there} of 200");
    let [avoided] = live.avoided()[..] else { panic!("{:?}", live.avoided()) };
    assert_eq!((avoided.caller, avoided.address, avoided.unreachable), (DENIED, denied[0], true));
}

#[test]
fn who_reports_nothing_but_failures_moves_nobody_and_still_has_picks() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let all = live.endpoints().iter().map(|each| each.endpoint.address).collect::<Vec<_>>();
    for _ in 0..30 {
        request(&live, HERE, &[]);
    }
    for round in 0..300 {
        request(&live, HERE, &[]);
        let outcome =
            [Outcome::Unreachable, Outcome::Failure, Outcome::Expired][round as usize % 3];
        live.pick_endpoints(&by(DENIED)).expect("endpoints").picks.remove(0).end(outcome, None);
        assert_eq!(ejected(&live), 0);
        std::thread::sleep(Duration::from_millis(1));
    }
    let failures: u64 = live.endpoints().iter().map(|each| each.total.failed).sum();
    assert_eq!(failures, 0);
    assert_eq!(live.avoided().len(), all.len());
}

#[test]
fn who_is_the_only_caller_is_believed() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let gone = ["10.0.0.1:80".parse().expect("an address")];
    eventually("it is ejected", || {
        request(&live, HERE, &gone);
        ejected(&live) == 1
    });
    assert!(live.avoided().is_empty());
}

#[test]
fn an_endpoint_that_dies_goes_as_soon_as_a_second_caller_notices() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    for caller in (1..=3).cycle().take(90) {
        request(&live, Identity::Uid(caller), &[]);
    }
    let gone = ["10.0.0.1:80".parse().expect("an address")];
    let mut failed = 0;
    eventually("it is ejected", || {
        for caller in 1..=3 {
            if request(&live, Identity::Uid(caller), &gone) == gone[0] {
                failed += 1;
                // Many times longer than a publication.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        ejected(&live) == 1
    });
    assert!(failed <= 4, "{failed}");
}

#[test]
fn an_endpoint_that_dies_goes_though_another_caller_reached_it_a_second_ago() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    for _ in 0..30 {
        request(&live, HERE, &[]);
        request(&live, DENIED, &[]);
    }
    std::thread::sleep(Duration::from_secs(1));
    let gone = ["10.0.0.1:80".parse().expect("an address")];
    let mut failed = 0;
    eventually("it is ejected", || {
        failed += u32::from(request(&live, DENIED, &gone) == gone[0]);
        ejected(&live) == 1
    });
    assert!(failed <= 4, "{failed}: one, and one a second later");
}

#[test]
fn what_began_before_an_ejection_is_no_probe() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    let first = "10.0.0.1:80".parse().expect("an address");
    let picks = std::iter::repeat_with(|| live.pick_endpoints(&ANY).expect("endpoints").picks);
    let (streams, _elsewhere): (Vec<_>, Vec<_>) =
        picks.take(16).flatten().partition(|held| held.endpoint.address == first);
    assert!(streams.len() >= 4);
    let gone = [first];
    eventually("it is ejected", || {
        request(&live, HERE, &gone);
        ejected(&live) == 1
    });
    let state = || live.endpoints()[0].state;
    eventually("it is probing", || state() == State::Probing);
    for held in streams {
        held.end(Outcome::Success, None);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state(), State::Probing);
    eventually("it serves again", || {
        request(&live, HERE, &[]);
        state() == State::Serving
    });
}

#[test]
fn where_all_requests_are_streams_an_ejected_endpoint_returns_as_well() {
    for (endpoints, streams) in [(2, 1), (2, 8), (4, 8)] {
        let addresses = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"];
        let (_world, live) = World::new(&addresses[..endpoints]);
        let stream = || live.pick_endpoints(&ANY).expect("endpoints").picks.remove(0);
        let mut open: std::collections::VecDeque<_> =
            std::iter::repeat_with(stream).take(streams).collect();
        let last = stream();
        let gone = last.endpoint.address;
        last.end(Outcome::Unreachable, None);
        eventually("it is ejected", || ejected(&live) == 1);
        eventually("it serves again", || {
            open.push_back(stream());
            let oldest = open.pop_front().expect("it is not empty");
            oldest.end(Outcome::Success, None);
            let all = live.endpoints();
            all.iter().any(|it| it.endpoint.address == gone && it.state == State::Serving)
        });
    }
}
