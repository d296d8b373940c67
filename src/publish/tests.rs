//! Tests the publishing cycle on virtual time, with the shipped picker and counters.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pointsman_table::{Counters, Outcome, Pick, Picker, Request};

use super::{Memory, ServicePublisher, Setup};
use crate::{
    catalog::{Endpoint, EndpointRef, Locality},
    plan::State,
    policy::{Policy, ZoneMode},
};

const PERIOD: Duration = Duration::from_millis(1);

/// One service, one calling process, virtual time.
struct Stage {
    publisher: ServicePublisher,
    counters: Arc<Counters>,
    picker: Picker,
    now: Duration,
}

fn endpoints(numbers: std::ops::Range<u8>) -> Vec<EndpointRef> {
    let list: Arc<[Endpoint]> =
        numbers.map(|number| Endpoint::at(([10, 0, 0, number], 80).into())).collect();
    EndpointRef::all(&list).collect()
}

fn policy() -> Arc<Policy> {
    Arc::new(Policy { zone: ZoneMode::Off, ..Policy::default() })
}

impl Stage {
    fn new(count: u8) -> Self {
        let mut publisher = ServicePublisher::new(Setup {
            name: "cart.shop".into(),
            policy: policy(),
            locality: Locality::default(),
            memory: Memory::Heap,
            endpoints: endpoints(0..count),
            virtual_port: None,
            now: Duration::from_secs(10),
        })
        .expect("heap memory");
        let counters = publisher.new_counters(1).expect("heap memory");
        publisher.attach(counters.clone());
        let picker = Picker::new(publisher.table(), counters.clone(), 1, None);
        Self { publisher, counters, picker, now: Duration::from_secs(10) }
    }

    /// Attaches as the callers of a superseded table do.
    fn attach_again(&mut self) {
        let counters = self.publisher.new_counters(1).expect("heap memory");
        self.publisher.attach(counters.clone());
        let picker = Picker::new(self.publisher.table(), counters.clone(), 1, None);
        (self.counters, self.picker) = (counters, picker);
    }

    fn in_flight(&self, address: SocketAddr) -> u32 {
        let mut endpoints = self.publisher.plan().endpoints.iter();
        let index = endpoints.position(|planned| planned.endpoint.address == address);
        self.publisher.loads()[index.expect("a known address")].in_flight
    }

    fn pass(&mut self) {
        self.now += PERIOD;
        self.publisher.pass(self.now, PERIOD);
    }

    fn passes(&mut self, count: u32) {
        (0..count).for_each(|_| self.pass());
    }

    fn pick(&mut self) -> Pick {
        self.picker.pick(&Request::default()).expect("an endpoint")
    }

    fn address(&self, pick: Pick) -> SocketAddr {
        self.picker.endpoint(pick.slot).expect("a known slot").address
    }

    fn end(&mut self, pick: Pick, outcome: Outcome) {
        self.picker.end(pick.slot, pick.cost, outcome, Some(10_000));
    }
}

#[test]
fn requests_in_flight_of_one_process_steer_another() {
    let mut stage = Stage::new(2);
    let busy = stage.pick();
    stage.pass();
    let counters = stage.publisher.new_counters(1).expect("heap memory");
    stage.publisher.attach(counters.clone());
    let mut other: Picker = Picker::new(stage.publisher.table(), counters, 7, None);
    for _ in 0..20 {
        let pick = other.pick(&Request::default()).expect("an endpoint");
        assert_ne!(pick.slot, busy.slot);
        other.end(pick.slot, pick.cost, Outcome::Success, None);
    }
}

#[test]
fn what_a_process_had_in_flight_goes_with_it() {
    let mut stage = Stage::new(2);
    stage.pick();
    stage.pass();
    assert_eq!(stage.publisher.pass(stage.now, PERIOD).in_flight, 1);
    let counters = stage.counters.clone();
    stage.publisher.detach(&counters);
    assert_eq!(stage.publisher.pass(stage.now, PERIOD).in_flight, 0);
}

#[test]
fn an_unreachable_endpoint_gets_no_pick_after_the_next_pass() {
    let mut stage = Stage::new(4);
    let pick = stage.pick();
    let gone = stage.address(pick);
    stage.end(pick, Outcome::Unreachable);
    stage.pass();
    for _ in 0..100 {
        let pick = stage.pick();
        assert_ne!(stage.address(pick), gone);
        stage.end(pick, Outcome::Success);
    }
}

#[test]
fn a_probe_is_one_request_at_a_time() {
    let mut stage = Stage::new(2);
    let pick = stage.pick();
    let gone = stage.address(pick);
    stage.end(pick, Outcome::Unreachable);
    stage.passes(1_002);
    let probing = stage.publisher.plan().endpoints.iter().find(|e| e.endpoint.address == gone);
    assert_eq!(probing.map(|e| e.state), Some(State::Probing));
    let mut probes = 0;
    for _ in 0..50 {
        let pick = stage.pick();
        probes += u32::from(stage.address(pick) == gone);
        stage.pass();
    }
    assert_eq!(probes, 1);
}

#[test]
fn ejections_and_what_is_in_flight_survive_an_update() {
    let mut stage = Stage::new(4);
    let bad = stage.pick();
    let gone = stage.address(bad);
    stage.end(bad, Outcome::Unreachable);
    let held = stage.pick();
    let busy = stage.address(held);
    stage.pass();
    stage.publisher.update(endpoints(0..6), policy(), stage.now).expect("heap memory");
    stage.pass();
    let find = |address| {
        let index =
            stage.publisher.plan().endpoints.iter().position(|e| e.endpoint.address == address);
        index.expect("still there")
    };
    assert_eq!(stage.publisher.plan().endpoints[find(gone)].state, State::Ejected);
    assert_eq!(stage.publisher.loads()[find(busy)].in_flight, 1);
}

#[test]
fn a_removed_endpoint_is_closed_at_once_even_for_callers_with_an_old_structure() {
    let mut stage = Stage::new(3);
    let table = stage.publisher.table();
    stage.publisher.update(endpoints(1..3), policy(), stage.now).expect("heap memory");
    assert_eq!(table.cell(0).expect("slot 0").limit, 0);
}

#[test]
fn when_slots_run_out_a_new_table_takes_over_with_what_is_in_flight() {
    let mut stage = Stage::new(3);
    let held = stage.pick();
    let busy = stage.address(held);
    let old = stage.publisher.table();
    let kept = busy.ip().to_string().rsplit('.').next().expect("octets").parse::<u8>().expect("u8");
    let mut superseded = false;
    for round in 1..20u8 {
        // Endpoints come and go, each with a new slot; the busy one stays.
        let mut list = endpoints(round * 10..round * 10 + 8);
        list.extend(endpoints(kept..kept + 1));
        superseded |= stage.publisher.update(list, policy(), stage.now).expect("heap memory");
    }
    assert!(superseded && old.superseded());
    stage.pass();
    let index = stage.publisher.plan().endpoints.iter().position(|e| e.endpoint.address == busy);
    assert_eq!(stage.publisher.loads()[index.expect("still there")].in_flight, 1);
    stage.end(held, Outcome::Success);
    stage.passes(3);
    assert_eq!(stage.publisher.pass(stage.now, PERIOD).in_flight, 0);
}

#[test]
fn no_generation_without_a_changed_number() {
    let mut stage = Stage::new(4);
    let traffic = |stage: &mut Stage, passes: u32| {
        for _ in 0..passes {
            let pick = stage.pick();
            stage.pass();
            stage.end(pick, Outcome::Success);
        }
    };
    // Runs until the service time, and so the shrink factor, is known.
    traffic(&mut stage, 500);
    let settled = stage.publisher.table().generation();
    traffic(&mut stage, 500);
    assert_eq!(stage.publisher.table().generation(), settled, "nothing but requests");

    let in_flight = stage.pick();
    stage.pass();
    let base = |stage: &Stage| stage.publisher.table().cell(in_flight.slot).expect("a slot").base;
    let often = base(&stage);
    stage.publisher.pass(stage.now, PERIOD * 10);
    assert!(base(&stage) < often, "another period is another load");
    assert_eq!(stage.publisher.table().generation(), settled, "but the same structure");

    stage.publisher.update(endpoints(0..4), policy(), stage.now).expect("heap memory");
    assert_eq!(stage.publisher.table().generation(), settled, "the same endpoints again");

    let mut list: Vec<Endpoint> = endpoints(0..4).iter().map(|e| (**e).clone()).collect();
    list[0].weight = 2;
    let list = EndpointRef::all(&list.into()).collect();
    stage.publisher.update(list, policy(), stage.now).expect("heap memory");
    assert_eq!(stage.publisher.table().generation(), settled + 1, "one changed weight");
}

#[test]
fn labels_that_a_table_has_no_room_for_lead_to_a_larger_one() {
    let labelled: Arc<[Endpoint]> = (0..20)
        .map(|number| {
            let label =
                |key: u8| (format!("label-{key}").into(), format!("{number:02}{key:063}").into());
            Endpoint {
                labels: Arc::new((0..6).map(label).collect()),
                ..Endpoint::at(([10, 0, 0, number], 80).into())
            }
        })
        .collect();
    let mut stage = Stage::new(2);
    let held = stage.pick();
    let busy = stage.address(held);
    let endpoints: Vec<EndpointRef> = EndpointRef::all(&labelled).collect();
    let superseded = stage.publisher.update(endpoints, policy(), stage.now).expect("heap memory");
    assert!(superseded, "two small endpoints left no room for 20 with 70 bytes a label");
    stage.attach_again();
    for _ in 0..100 {
        let pick = stage.pick();
        let record = stage.picker.endpoint(pick.slot).expect("a record");
        assert_eq!(record.labels.len(), 6);
        stage.end(pick, Outcome::Success);
    }
    stage.pass();
    assert_eq!(stage.in_flight(busy), 1, "what is open in the smaller table");
}

#[test]
fn an_endpoint_that_comes_back_has_its_open_requests_counted_again() {
    let mut stage = Stage::new(3);
    let held = stage.pick();
    let busy = stage.address(held);
    stage.pass();
    let without: Vec<EndpointRef> =
        endpoints(0..3).into_iter().filter(|e| e.address != busy).collect();
    stage.publisher.update(without, policy(), stage.now).expect("heap memory");
    stage.pass();
    stage.publisher.update(endpoints(0..3), policy(), stage.now).expect("heap memory");
    stage.pass();
    assert_eq!(stage.in_flight(busy), 1);
    stage.end(held, Outcome::Success);
    stage.pass();
    assert_eq!(stage.in_flight(busy), 0);
}

#[test]
fn it_is_idle_after_fifty_passes_without_movement_whatever_is_open() {
    let mut stage = Stage::new(2);
    let pick = stage.pick();
    stage.passes(50);
    assert!(!stage.publisher.is_idle());
    stage.pass();
    assert!(stage.publisher.is_idle() && !stage.publisher.is_unused());
    stage.publisher.lie_down();
    assert!(stage.publisher.table().asleep() && !stage.publisher.stirred());
    let busy = stage.address(pick);
    let base = stage.publisher.table().cell(pick.slot).expect("a slot").base;
    assert!(stage.in_flight(busy) == 1 && base > 0.0, "what was published holds");
    stage.end(pick, Outcome::Success);
    assert!(stage.publisher.stirred() && !stage.publisher.is_unused());
    stage.publisher.get_up();
    stage.passes(60);
    assert!(stage.publisher.is_idle());
    stage.publisher.lie_down();
    assert!(stage.publisher.is_unused());
}

#[test]
fn it_is_idle_sooner_where_its_passes_are_rare() {
    let mut stage = Stage::new(2);
    let passes = (1..).take_while(|_| {
        stage.now += PERIOD * 60;
        stage.publisher.pass(stage.now, PERIOD * 60);
        !stage.publisher.is_idle()
    });
    assert_eq!(passes.count(), 4, "after a quarter of a second");
}

#[test]
fn a_request_that_outlasts_a_sleep_is_timed() {
    let mut stage = Stage::new(2);
    let pick = stage.pick();
    stage.passes(60);
    stage.publisher.lie_down();
    stage.now += Duration::from_secs(20);
    stage.picker.end(pick.slot, pick.cost, Outcome::Success, Some(50_000));
    stage.publisher.get_up();
    stage.passes(60);
    assert!(stage.publisher.wanted_period() > PERIOD * 3, "a tenth of 50 ms");
}

#[test]
fn in_a_table_that_was_superseded_an_end_wakes_too() {
    let mut stage = Stage::new(2);
    let pick = stage.pick();
    stage.pass();
    stage.publisher.update(endpoints(0..200), policy(), stage.now).expect("heap memory");
    stage.passes(60);
    stage.publisher.lie_down();
    assert!(stage.picker.table().superseded() && stage.picker.table().asleep());
    assert!(!stage.publisher.stirred());
    stage.end(pick, Outcome::Success);
    assert!(stage.publisher.stirred());
}

#[test]
fn what_ended_last_is_taken_in_before_it_falls_asleep() {
    let mut stage = Stage::new(2);
    let pick = stage.pick();
    stage.end(pick, Outcome::Failure);
    while !stage.publisher.is_idle() {
        stage.pass();
    }
    let failed: u64 = stage.publisher.loads().iter().map(|load| load.total.failed).sum();
    assert_eq!(failed, 1);
}

#[test]
fn a_process_that_erases_its_counters_is_detached() {
    let mut stage = Stage::new(2);
    stage.publisher = ServicePublisher::new(Setup {
        name: "cart.shop".into(),
        policy: policy(),
        locality: Locality::default(),
        memory: Memory::Shared,
        endpoints: endpoints(0..2),
        virtual_port: None,
        now: stage.now,
    })
    .expect("shared memory");
    let counters = stage.publisher.new_counters(1).expect("shared memory");
    stage.publisher.attach(counters.clone());
    let mut picker: Picker = Picker::new(stage.publisher.table(), counters.clone(), 1, None);
    picker.pick(&Request::default()).expect("an endpoint");
    assert_eq!(stage.publisher.pass(stage.now, PERIOD).in_flight, 1);
    let fd = counters.fd().expect("a descriptor");
    let whole = rustix::fs::fstat(&fd).expect("a size").st_size as u64;
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&fd, punch, 0, whole).expect("a hole");
    assert_eq!(stage.publisher.pass(stage.now, PERIOD).in_flight, 0);
}
