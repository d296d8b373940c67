//! Tests which requests leave the own zone while its endpoints come and go, on virtual time.

use std::{collections::VecDeque, time::Duration};

use pointsman_table::{Outcome, Pick, Picker, Request};

use super::{Memory, ServicePublisher, Setup};
use crate::{
    catalog::{Endpoint, EndpointRef, Health, Locality},
    policy::{Policy, StrategyName, ZoneMode},
};

/// The time between two passes, with a request after each.
const PERIOD: Duration = Duration::from_millis(5);

/// An endpoint in zone `a`, `b` or `c`.
fn endpoint(number: u8, zone: char) -> Endpoint {
    let zone = Some(zone.to_string().into());
    Endpoint { zone, ..Endpoint::at(([10, 0, 0, number], 80).into()) }
}

/// Endpoints, numbered by their places in `zones`.
fn endpoints(zones: &str) -> Vec<Endpoint> {
    (1..).zip(zones.chars()).map(|(number, zone)| endpoint(number, zone)).collect()
}

#[derive(Clone)]
struct Facts {
    endpoints: Vec<Endpoint>,
    policy: Policy,
    locality: Locality,
}

impl Facts {
    /// The view from zone a. Scores cause no overflow, so only the share of the zone sends requests
    /// away.
    fn new(endpoints: Vec<Endpoint>) -> Self {
        let policy = Policy { strategy: StrategyName::Random, ..Policy::default() };
        let locality = Locality { zone: Some("a".into()), ..Locality::default() };
        Self { endpoints, policy, locality }
    }

    fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }
}

/// A caller in zone a. Its requests come at an even rate and take the same time everywhere.
struct Stage {
    publisher: ServicePublisher,
    picker: Picker,
    /// The open picks with the times at which they end, the earliest first.
    open: VecDeque<(Duration, Pick)>,
    takes: Duration,
    now: Duration,
}

impl Stage {
    fn new(facts: Facts, takes: Duration, now: Duration) -> Self {
        let mut publisher = ServicePublisher::new(Setup {
            name: "cart.shop".into(),
            policy: facts.policy.into(),
            locality: facts.locality,
            memory: Memory::Heap,
            endpoints: EndpointRef::all(&facts.endpoints.into()).collect(),
            virtual_port: None,
            now,
        })
        .expect("heap memory");
        let counters = publisher.new_counters(1).expect("heap memory");
        publisher.attach(counters.clone());
        let picker = Picker::new(publisher.table(), counters, 1, None);
        Self { publisher, picker, open: VecDeque::new(), takes, now }
    }

    fn update(&mut self, facts: Facts) {
        self.publisher.locate(facts.locality);
        let endpoints = EndpointRef::all(&facts.endpoints.into()).collect();
        let superseded = self.publisher.update(endpoints, facts.policy.into(), self.now);
        assert!(!superseded.expect("heap memory"), "there is room for a few more");
    }

    /// Makes a request every period for `duration`. Returns the part of them that left zone a.
    fn left(&mut self, duration: Duration) -> f64 {
        let until = self.now + duration;
        let (mut sent, mut left) = (0.0, 0.0);
        while self.now < until {
            self.now += PERIOD;
            while self.open.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, pick) = self.open.pop_front().expect("it is not empty");
                let us = self.takes.as_micros() as u32;
                self.picker.end(pick.slot, pick.cost, Outcome::Success, Some(us));
            }
            let pick = self.picker.pick(&Request::default()).expect("an endpoint");
            let zone = self.picker.endpoint(pick.slot).expect("a known slot").zone.clone();
            left += f64::from(u8::from(&*zone != "a"));
            sent += 1.0;
            self.open.push_back((self.now + self.takes, pick));
            self.publisher.pass(self.now, PERIOD);
        }
        left / sent
    }
}

/// Changes of the own zone under load, by name.
fn changes() -> Vec<(&'static str, Facts, Facts)> {
    // The own zone can take less than all requests: it has one of five endpoints in three zones.
    let all = Facts::new(endpoints("abbcc"));
    let far = all.but(|it| drop(it.endpoints.remove(0)));
    let unready = all.but(|it| it.endpoints[0].health = Health::Unready);
    let off = all.but(|it| it.policy.zone = ZoneMode::Off);
    let nowhere = all.but(|it| it.locality = Locality::default());
    let elsewhere = all.but(|it| it.locality.zone = Some("b".into()));
    let strict =
        all.but(|it| (it.policy.zone, it.locality.zone) = (ZoneMode::Strict, Some("b".into())));
    [
        ("its first endpoint comes", far),
        ("its only endpoint becomes ready", unready),
        ("it begins to count", off),
        ("the agent hears of it", nowhere),
        ("the agent was wrong about it", elsewhere),
        ("it was to be another only", strict),
    ]
    .map(|(what, before)| (what, before, all.clone()))
    .into()
}

#[test]
fn no_request_leaves_the_own_zone_for_what_was_sent_before_it_was_one() {
    for (what, before, after) in changes() {
        // At different parts of a second, because ends are counted by the second.
        for fraction in [0.0, 0.5, 0.95] {
            for takes in [10, 1_500].map(Duration::from_millis) {
                let begin = Duration::from_secs_f64(10.0 + fraction);
                let mut stage = Stage::new(before.clone(), takes, begin);
                assert!(stage.left(Duration::from_secs(5)) > 0.5, "{what}: nearly all did so far");
                stage.update(after.clone());
                let left = stage.left(Duration::from_secs(12));
                assert_eq!(left, 0.0, "{what}, {fraction} s into a second, {takes:?} a request");
            }
        }
    }
}
