//! The publishing thread over a real catalog, on the real clock.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Live, Outcome, Tables, Target, Want};
use crate::{
    catalog::{Catalog, Change, Endpoint, Port, Service, ServiceName, SourceId},
    clock,
    plan::Here,
    policy::ConfigPolicies,
};

const ANY: Want<'_> = Want { exclude: &[], key: None, count: 1, cost: 1 };

fn service(addresses: &[&str]) -> Service {
    let endpoints =
        addresses.iter().map(|address| Endpoint::at(address.parse().expect("an address")));
    let service = || Service {
        name: ServiceName { name: "cart".into(), namespace: "shop".into(), cluster: None },
        ports: Vec::new(),
        settings: Vec::new(),
        source: "test".into(),
        version: 0,
        stale: false,
        notes: Vec::new(),
    };
    let port = Port { name: None, number: Some(80), endpoints: endpoints.collect() };
    Service { ports: vec![port], ..service() }
}

struct World {
    catalog: Arc<Catalog>,
    tables: Tables,
}

impl World {
    fn new(addresses: &[&str]) -> (Self, Arc<Live>) {
        let catalog = Arc::new(Catalog::new(["test"]));
        let policies = ConfigPolicies::default();
        let tables =
            Tables::start(catalog.clone(), policies, Here::default(), 1).expect("a thread");
        let world = Self { catalog, tables };
        world.set(addresses);
        let live = world.open(service(&[]).name);
        (world, live)
    }

    fn open(&self, service: ServiceName) -> Arc<Live> {
        let target = Target {
            service,
            port: (None, Some(80)),
            selector: Default::default(),
            way: Default::default(),
        };
        self.tables.open(&target).expect("memory").expect("the port")
    }

    /// The table of a service of its own.
    fn another(&self, number: usize) -> Arc<Live> {
        let mut service = service(&["10.0.2.1:80"]);
        service.name.name = format!("other-{number}").into();
        let name = service.name.clone();
        self.catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
        self.open(name)
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

fn address(live: &Live) -> SocketAddr {
    let mut picked = live.pick(&ANY).expect("an endpoint");
    let held = picked.picks.remove(0);
    let address = held.endpoint.address;
    held.end(Outcome::Success, Some(Duration::from_millis(3)));
    address
}

#[test]
fn a_changed_service_changes_its_picks() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    assert_eq!(address(&live), "10.0.0.1:80".parse().expect("an address"));
    // Both first: one step would be a mass removal, which the brake holds.
    world.set(&["10.0.0.1:80", "10.0.0.2:80"]);
    world.set(&["10.0.0.2:80"]);
    let next: SocketAddr = "10.0.0.2:80".parse().expect("an address");
    eventually("the new endpoint is picked", || address(&live) == next);
}

#[test]
fn a_changed_service_does_not_wait_for_the_next_cycle_of_many_tables() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    // With a request in flight none of them sleeps; and cycles are as rare as they cost.
    let others: Vec<Arc<Live>> = (0..300).map(|number| world.another(number)).collect();
    let _held: Vec<_> = others.iter().map(|other| other.pick(&ANY).expect("an endpoint")).collect();
    let numbers = world.tables.numbers();
    let period = || Duration::from_nanos(numbers.period_ns.load(Relaxed));
    eventually("cycles are rare", || period() > Duration::from_millis(20));
    let mut waited = 0;
    for turn in 1..=20 {
        let next = format!("10.0.1.{turn}:80");
        let changed = clock::now();
        world.set(&[&next]);
        let next: SocketAddr = next.parse().expect("an address");
        eventually("the new endpoint is picked", || address(&live) == next);
        if clock::now() - changed > period() / 2 {
            waited += 1;
        }
    }
    // Half of them would, were it for the next cycle; the machine may be slow now and then.
    assert!(waited <= 5, "{waited} of 20 changes took half a cycle or longer");
}

#[test]
fn an_idle_publisher_sleeps_and_the_next_pick_wakes_it() {
    let (world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80"]);
    let numbers = world.tables.numbers();
    for _ in 0..5 {
        eventually("it sleeps", || numbers.period_ns.load(Relaxed) == 0);
        let asleep_at = numbers.passes.load(Relaxed);
        let held = live.pick(&ANY).expect("an endpoint");
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
    let held = live.pick(&ANY).expect("a braked endpoint").picks.remove(0);
    let gone = held.endpoint.address;
    held.end(Outcome::Unreachable, None);
    eventually("it is let go", || live.endpoints().iter().all(|e| e.endpoint.address != gone));
}

#[test]
fn several_picks_are_distinct_and_only_the_first_is_in_flight() {
    let (_world, live) = World::new(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let mut picked = live.pick(&Want { count: 9, ..ANY }).expect("endpoints");
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
    let error = live.pick(&Want { exclude: &exclude, ..ANY }).expect_err("all are excluded");
    assert_eq!(
        error.to_string(),
        "no endpoint of cart.shop:80 can serve: 2 endpoints: 2 excluded by the request"
    );
}

#[test]
fn a_removed_service_leaves_no_table_but_what_is_held_can_end() {
    let (world, live) = World::new(&["10.0.0.1:80"]);
    let held = live.pick(&ANY).expect("an endpoint");
    let name = service(&[]).name;
    world.catalog.apply(SourceId(0), Change::Remove(name), clock::now());
    eventually("the table is gone", || world.tables.all().is_empty());
    drop(held);
    let error = live.pick(&ANY).expect_err("no endpoint is left");
    assert!(error.to_string().contains("knows no endpoint"), "{error}");
}
