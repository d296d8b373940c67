//! Tests streams and forgotten leases beside requests, on virtual time, with the shipped publisher
//! and picker.

use std::{sync::Arc, time::Duration};

use pointsman_table::{Outcome, Pick, Picker, Request};

use crate::{
    catalog::{Endpoint, EndpointRef, Locality},
    load::{Ages, Epoch},
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup},
};

const MS: Duration = Duration::from_millis(1);

/// One service and the callers of one socket.
struct Stage {
    publisher: ServicePublisher,
    ages: Arc<Ages>,
    picker: Picker,
    now: Duration,
}

#[derive(Clone, Copy)]
struct Open {
    pick: Pick,
    begun: Epoch,
}

impl Stage {
    /// `zones` as in "aab" has one endpoint each. The callers are in zone a.
    fn new(zones: &str, seed: u32) -> Self {
        let endpoint = |(zone, number): (char, u8)| Endpoint {
            zone: Some(zone.to_string().into()),
            ..Endpoint::at(([10, 0, 0, number], 80).into())
        };
        let endpoints: Arc<[Endpoint]> = zones.chars().zip(0..).map(endpoint).collect();
        let now = Duration::from_secs(10);
        let mut publisher = ServicePublisher::new(Setup {
            name: "cart.shop".into(),
            policy: Arc::new(Policy::default()),
            locality: Locality { zone: Some("a".into()), ..Locality::default() },
            memory: Memory::Heap,
            endpoints: EndpointRef::all(&endpoints).collect(),
            virtual_port: None,
            now,
        })
        .expect("heap memory");
        let counters = publisher.new_counters(1).expect("heap memory");
        publisher.attach(counters.clone());
        let ages = publisher.ages();
        let picker = Picker::new(publisher.table(), counters, seed, None);
        Self { publisher, ages, picker, now }
    }

    fn wait(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            self.now += MS;
            self.publisher.pass(self.now, MS);
        }
    }

    fn open(&mut self) -> Open {
        let pick = self.picker.pick(&Request::default()).expect("an endpoint");
        Open { pick, begun: self.ages.began(pick.slot, pick.cost) }
    }

    fn end(&mut self, open: Open, latency: Duration) {
        let Open { pick: Pick { slot, cost }, begun } = open;
        self.picker.end(slot, cost, Outcome::Success, Some(latency.as_micros() as u32));
        self.ages.ended(slot, cost, begun, true);
    }

    /// The index of the endpoint that a pick went to.
    fn endpoint(&self, open: Open) -> usize {
        let slots = self.publisher.slots();
        slots.iter().position(|slot| *slot == open.pick.slot).expect("a known slot")
    }

    /// Makes `count` requests of a millisecond, `at_once` of them at a time. Returns how many each
    /// endpoint got.
    fn requests(&mut self, count: usize, at_once: usize) -> Vec<usize> {
        let mut went = vec![0; self.publisher.slots().len()];
        let mut under_way = Vec::new();
        for _ in 0..count {
            if under_way.len() == at_once {
                self.wait(MS);
                under_way.drain(..).for_each(|open| self.end(open, MS));
            }
            let open = self.open();
            went[self.endpoint(open)] += 1;
            under_way.push(open);
        }
        self.wait(MS);
        under_way.drain(..).for_each(|open| self.end(open, MS));
        went
    }

    /// Opens `count` streams, one each `pause`. Returns how many each endpoint got.
    fn streams(&mut self, count: usize, pause: Duration) -> Vec<usize> {
        let mut went = vec![0; self.publisher.slots().len()];
        for _ in 0..count {
            let open = self.open();
            went[self.endpoint(open)] += 1;
            self.wait(pause);
        }
        went
    }
}

/// The difference between the most and the fewest.
fn spread(went: &[usize]) -> usize {
    let (most, fewest) = (went.iter().max().expect("some"), went.iter().min().expect("some"));
    most - fewest
}

#[test]
fn idle_streams_push_no_request_out_of_the_zone() {
    let mut stage = Stage::new("aaabbb", 1);
    let streams = stage.streams(9, 200 * MS);
    assert_eq!(streams[3..], [0, 0, 0], "{streams:?}");
    stage.wait(300 * MS);
    let went = stage.requests(400, 1);
    assert_eq!(went[3..], [0, 0, 0], "{went:?}");
    assert!(went[..3].iter().all(|n| *n > 80), "{went:?}");
}

#[test]
fn streams_before_any_request_was_answered_leave_every_endpoint_its_requests() {
    for seed in 1..=5 {
        let mut stage = Stage::new("aaa", seed);
        let streams = stage.streams(9, 150 * MS);
        stage.wait(300 * MS);
        let went = stage.requests(400, 1);
        assert!(went.iter().all(|n| *n > 40), "{went:?} beside {streams:?}");
    }
}

#[test]
fn leases_of_a_program_that_died_push_no_request_out_of_the_zone() {
    let mut stage = Stage::new("aaabbb", 1);
    stage.requests(300, 1);
    let left: Vec<Open> = (0..20).map(|_| stage.open()).collect();
    stage.wait(300 * MS);
    let went = stage.requests(400, 1);
    assert_eq!(went[3..], [0, 0, 0], "{went:?}");
    assert!(went[..3].iter().all(|n| *n > 60), "{went:?}");
    drop(left);
}

#[test]
fn one_forgotten_lease_of_two_endpoints_moves_few_requests() {
    for at_once in [1, 2] {
        let mut stage = Stage::new("aa", 1);
        let forgotten = stage.open();
        let forgotten = stage.endpoint(forgotten);
        stage.wait(200 * MS);
        let went = stage.requests(1_000, at_once);
        assert!((400..=560).contains(&went[forgotten]), "{at_once} at once: {went:?}");
    }
}

#[test]
fn sixty_streams_are_spread_evenly_however_fast_they_open() {
    for (endpoints, most) in [(3, 3), (20, 4)] {
        for pause in [Duration::ZERO, 20 * MS, 250 * MS, 3_000 * MS] {
            let mut stage = Stage::new(&"a".repeat(endpoints), 7);
            let went = stage.streams(60, pause);
            assert!(spread(&went) <= most, "{pause:?} apart: {went:?}");
        }
    }
}

#[test]
fn streams_beside_requests_are_evener_than_chance_and_leave_requests_even() {
    let (mut streams, mut requests) = (vec![0; 3], vec![0; 3]);
    let mut stage = Stage::new("aaa", 3);
    for _ in 0..60 {
        let open = stage.open();
        streams[stage.endpoint(open)] += 1;
        stage.wait(200 * MS);
        for (sum, went) in requests.iter_mut().zip(stage.requests(50, 1)) {
            *sum += went;
        }
    }
    // By chance alone, the standard deviation of each of three endpoints is 3.7.
    assert!(spread(&streams) <= 7, "{streams:?}");
    assert!(requests.iter().all(|n| (800..1_200).contains(n)), "{requests:?}");
}

#[test]
fn an_endpoint_that_answers_nothing_takes_few_requests_where_callers_wait_for_ever() {
    let mut stage = Stage::new("aaa", 1);
    stage.requests(300, 4);
    let (mut stuck, mut sent) = (0, 0);
    for _ in 0..5_000 {
        let open: Vec<Open> = (0..4).map(|_| stage.open()).collect();
        stage.wait(MS);
        sent += open.len();
        for open in open {
            if stage.endpoint(open) == 0 {
                stuck += 1;
            } else {
                stage.end(open, MS);
            }
        }
    }
    assert!(stuck <= 30, "{stuck} of {sent}");
}

#[test]
fn where_requests_take_seconds_nothing_of_them_is_standing() {
    let mut stage = Stage::new("aaa", 1);
    let takes = Duration::from_secs(2);
    let mut under_way: Vec<(Open, Duration)> = Vec::new();
    for round in 0..600 {
        under_way.push((stage.open(), stage.now + takes));
        stage.wait(20 * MS);
        let (over, going): (Vec<_>, Vec<_>) =
            under_way.into_iter().partition(|(_, until)| *until <= stage.now);
        under_way = going;
        over.into_iter().for_each(|(open, _)| stage.end(open, takes));
        let standing: u32 = stage.publisher.loads().iter().map(|load| load.standing).sum();
        // After 12 s, of which the first 4 s show how long requests take.
        assert!(round < 300 || standing == 0, "{standing} standing in round {round}");
    }
}
