//! Tests the turns of the publishing thread on virtual time, with passes of an assumed cost.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    InFlightGuard, Outcome, PickOptions, ServiceTable, Tables, Target,
    cycle::{Cycle, Wait},
    shared::Shared,
    tick::TICK,
};
use crate::{
    catalog::{Catalog, Change, Endpoint, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    policy::ConfigPolicies,
};

/// The assumed processor time of a pass: the budget has room for 4,000 a second.
const PASS: Duration = Duration::from_micros(5);

const ONE: Identity = Identity::Uid(1);
const OTHER: Identity = Identity::Uid(2);

struct World {
    shared: Arc<Shared>,
    tables: Tables,
    cycle: Cycle,
    wait: Duration,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self::with_waits_of(Duration::ZERO)
    }

    /// `wait` is the processor time of each wait of the thread.
    fn with_waits_of(wait: Duration) -> Self {
        let catalog = Arc::new(Catalog::new(["test"]));
        let shared = Shared::new(catalog, ConfigPolicies::default(), Locality::default(), 1);
        let shared = shared.expect("event descriptors");
        let metered = shared.clone();
        let spent = move || PASS * metered.numbers.passes.load(Relaxed) as u32;
        let cycle = Cycle::new(shared.clone(), Box::new(spent));
        Self { tables: Tables::over(shared.clone()), cycle, wait, shared, now: clock::now() }
    }

    fn open(&self, name: &str) -> Arc<ServiceTable> {
        let name = ServiceName { name: name.into(), namespace: "shop".into(), cluster: None };
        let endpoints = (1..=2).map(|last| Endpoint::at(([10, 0, 0, last], 80).into())).collect();
        let service = Service::new(
            name.clone(),
            "test",
            vec![Port { name: None, number: Some(80), endpoints }],
        );
        self.shared.catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
        let target = Target {
            service: name,
            port: (None, Some(80)),
            selector: Default::default(),
            way: Default::default(),
        };
        self.tables.open(&target).expect("memory").expect("the port")
    }

    fn open_many(&self, how_many: usize) -> Vec<Arc<ServiceTable>> {
        (0..how_many).map(|number| self.open(&format!("other-{number}"))).collect()
    }

    /// Runs for `how_long`, with `traffic` before each tick.
    fn run(&mut self, how_long: Duration, mut traffic: impl FnMut()) {
        let end = self.now + how_long;
        while self.now < end {
            traffic();
            self.now += TICK;
            self.cycle.waited(self.wait);
            self.cycle.turn(self.now);
        }
    }

    /// Removes the service of a table, as its source does.
    fn remove(&self, live: &ServiceTable) {
        let name = &live.target().service;
        self.shared.catalog.apply(SourceId(0), Change::Remove(name.clone()), clock::now());
        self.shared.tell(std::slice::from_ref(name));
    }

    fn passes(&self) -> u64 {
        self.shared.numbers.passes.load(Relaxed)
    }
}

fn pick(live: &ServiceTable, who: Identity) -> InFlightGuard {
    let want = PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: who };
    live.pick_endpoints(&want).expect("an endpoint").picks.remove(0)
}

fn request(live: &ServiceTable, who: Identity) {
    pick(live, who).end(Outcome::Success, Some(Duration::from_millis(5)));
}

fn in_flight(live: &ServiceTable) -> u32 {
    live.endpoints().iter().map(|endpoint| endpoint.in_flight).sum()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_busy_table_keeps_its_period_beside_many_with_a_request_open_in_each() {
    let mut world = World::new();
    let busy = world.open("busy");
    let others = world.open_many(150);
    let _held: Vec<InFlightGuard> = others.iter().map(|other| pick(other, ONE)).collect();
    world.run(2 * SECOND, || request(&busy, OTHER));
    assert!(others.iter().all(|other| in_flight(other) == 1));

    let (before, passes) = (busy.publication(), world.passes());
    world.run(SECOND, || request(&busy, OTHER));
    assert_eq!(busy.publication() - before, 1_000, "one a millisecond");
    assert_eq!(world.passes() - passes, 1_000, "and none of a table where nothing moves");
}

#[test]
fn where_waking_up_is_dear_a_busy_table_is_published_less_often_alone_as_beside_others() {
    let mut world = World::with_waits_of(Duration::from_micros(36));
    let busy = world.open("busy");
    world.run(SECOND, || request(&busy, OTHER));
    let alone = busy.publication();
    world.run(SECOND, || request(&busy, OTHER));
    assert!((333..=334).contains(&(busy.publication() - alone)), "one every three milliseconds");

    let others = world.open_many(30);
    let mut turn = 0;
    let mut traffic = || {
        request(&busy, OTHER);
        turn += 1;
        request(&others[turn % others.len()], ONE);
    };
    world.run(SECOND, &mut traffic);
    let beside = busy.publication();
    world.run(SECOND, &mut traffic);
    assert!((333..=334).contains(&(busy.publication() - beside)));
}

#[test]
fn an_end_after_a_long_sleep_is_published_at_once_and_wakes_no_other_table() {
    let mut world = World::new();
    let others = world.open_many(50);
    let mut held: Vec<InFlightGuard> = others.iter().map(|other| pick(other, ONE)).collect();
    world.run(2 * SECOND, || ());
    assert_eq!(world.shared.numbers.period_ns.load(Relaxed), 0, "all asleep");

    let passes = world.passes();
    drop(held.remove(7));
    world.now += TICK;
    world.cycle.turn(world.now);
    assert_eq!((in_flight(&others[7]), world.passes() - passes), (0, 1));
    assert_eq!(in_flight(&others[8]), 1);
    world.run(SECOND, || ());
    assert_eq!(world.shared.numbers.late_wakeups.load(Relaxed), 0);
}

#[test]
fn who_keeps_many_tables_busy_has_longer_periods_and_nobody_else() {
    let mut world = World::new();
    let own = world.open("own");
    let many = world.open_many(100);
    let traffic = || {
        request(&own, OTHER);
        many.iter().for_each(|live| request(live, ONE));
    };
    world.run(2 * SECOND, traffic);

    let (before, passes) = (own.publication(), world.passes());
    world.run(SECOND, traffic);
    assert_eq!(own.publication() - before, 1_000);
    let passes = world.passes() - passes;
    // At most what the budget has room for, less the reserve.
    assert!((2_800..=4_000).contains(&passes), "{passes} passes");
}

#[test]
fn a_table_that_both_use_is_not_slow_for_what_one_of_them_does_elsewhere() {
    let mut world = World::new();
    let shared = world.open("shared");
    let many = world.open_many(100);
    let traffic = || {
        request(&shared, ONE);
        request(&shared, OTHER);
        many.iter().for_each(|live| request(live, ONE));
    };
    world.run(2 * SECOND, traffic);
    let before = shared.publication();
    world.run(SECOND, traffic);
    assert_eq!(shared.publication() - before, 1_000);
}

#[test]
fn a_table_that_is_no_more_is_let_go() {
    let mut world = World::new();
    let live = world.open("short-lived");
    world.run(TICK, || ());
    world.remove(&live);
    world.run(SECOND, || ());
    assert_eq!(Arc::strong_count(&live), 1);
}

#[test]
fn tables_that_are_no_more_take_nothing_from_the_others() {
    let mut world = World::new();
    let own = world.open("own");
    let many = world.open_many(100);
    world.run(2 * SECOND, || {
        request(&own, ONE);
        many.iter().for_each(|live| request(live, ONE));
    });
    many.iter().for_each(|live| world.remove(live));
    drop(many);
    world.run(2 * SECOND, || request(&own, ONE));
    let before = own.publication();
    world.run(SECOND, || request(&own, ONE));
    assert_eq!(own.publication() - before, 1_000, "one a millisecond");

    world.remove(&own);
    drop(own);
    world.run(SECOND, || ());
    assert_eq!(world.shared.numbers.period_ns.load(Relaxed), 0, "there is nothing to publish");
}

#[test]
fn activity_whose_wake_up_got_lost_is_found_within_half_a_second_and_counted() {
    let mut world = World::new();
    let live = world.open("cart");
    world.run(SECOND, || ());
    assert_eq!(world.shared.numbers.period_ns.load(Relaxed), 0, "asleep");
    let _held = pick(&live, ONE);
    assert_eq!(world.shared.wakeups.take(), [live.id()], "the wake-up, which is lost now");
    world.run(SECOND / 2, || ());
    assert_eq!(in_flight(&live), 1);
    world.run(SECOND, || ());
    assert_eq!(world.shared.numbers.late_wakeups.load(Relaxed), 1);
}

#[test]
fn a_caller_can_wake_the_thread_at_once_but_only_from_the_next_tick_on_after_a_publication() {
    let mut world = World::new();
    let tick = Duration::from_millis(world.now.as_millis() as u64 + 1);
    let _live = world.open("cart");
    let published = world.cycle.turn(tick + TICK / 4);
    assert_eq!(published, Wait { until: tick + TICK, callers_from: tick + TICK });
    // Nothing is due yet.
    let early = tick + TICK / 2;
    assert_eq!(world.cycle.turn(early), Wait { until: tick + TICK, callers_from: early });

    world.now = tick;
    world.run(SECOND, || ());
    let asleep = world.cycle.turn(world.now);
    assert_eq!(asleep.callers_from, world.now);
}

#[test]
fn publisher_and_callers_keep_one_plan_between_them() {
    let mut world = World::new();
    let live = world.open("cart");
    for fails in [false, true, false] {
        world.run(2 * SECOND, || {
            let outcome = if fails { Outcome::Failure } else { Outcome::Success };
            pick(&live, ONE).end(outcome, None);
        });
        world.run(SECOND, || ());
        let explained = live.explain();
        assert_eq!(Arc::strong_count(&explained.plan), 3, "the publisher's, the callers', this");
    }
}
