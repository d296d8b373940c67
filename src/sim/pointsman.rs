//! Pointsman itself on virtual time, with the real planner, publisher, picker and counters.
//!
//! The simulator replaces only the timer of the publishing thread, and the callers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pointsman_table::{Counters, Outcome, Pick, Picker, Request};

use super::{
    chooser::Chooser,
    own_counts::address,
    queue::{Nanos, nanos},
    rng::{Purpose, RandomStream},
    scenario::Scenario,
    server::{Backend, Server},
};
use crate::{
    catalog::{Endpoint, EndpointRef, Locality},
    load::{Ages, Epoch},
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup},
};

/// Clients time one request in this many, because the clock costs as much as a pick.
const TIMED_EVERY: u32 = 8;

/// How Pointsman is set up in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct PointsmanSetup {
    /// The policy of the service.
    pub policy: Policy,
    /// The number of agents in a zone. Each agent knows only its own callers.
    pub agents_a_zone: usize,
}

impl Default for PointsmanSetup {
    fn default() -> Self {
        Self { policy: Policy::default(), agents_a_zone: 1 }
    }
}

/// The agents and their callers.
pub struct Pointsman {
    agents: Vec<Agent>,
    callers: Vec<SimulatedCaller>,
    /// The backend of each slot. It is the same for all agents.
    backend_of: Vec<usize>,
}

struct Agent {
    publisher: ServicePublisher,
    period: Duration,
}

struct SimulatedCaller {
    picker: Picker,
    ages: Arc<Ages>,
    until_timed: u32,
}

impl Pointsman {
    /// Makes the agents of a scenario, each with its own processes of its zone, and a picker for each
    /// caller.
    pub fn new(scenario: &Scenario, setup: &PointsmanSetup, seed: u64) -> Self {
        let zones = 1 + scenario.callers.iter().map(|c| c.zone).max().unwrap_or(0);
        let endpoints = endpoints(&scenario.backends);
        let policy = Arc::new(setup.policy.clone());
        let agent = |index: usize| {
            let publisher = ServicePublisher::new(Setup {
                name: "simulated".into(),
                policy: policy.clone(),
                locality: Locality { zone: Some(zone_name(index % zones)), ..Locality::default() },
                memory: Memory::Heap,
                endpoints: endpoints.clone(),
                virtual_port: None,
                now: Duration::ZERO,
            })
            .expect("memory on the heap");
            let period = publisher.wanted_period();
            Agent { publisher, period }
        };
        let mut agents: Vec<Agent> = (0..zones * setup.agents_a_zone).map(agent).collect();

        // The processes of a zone are distributed over its agents in turn.
        let mut seeds = RandomStream::new(seed, Purpose::Choice);
        let mut processes: Vec<(usize, usize, Arc<Counters>)> = Vec::new();
        let mut in_zone = vec![0; zones];
        let callers = scenario.callers.iter().map(|caller| {
            let known = processes.iter().find(|(process, ..)| *process == caller.process);
            let (agent, counters) = match known {
                Some((_, agent, counters)) => (*agent, counters.clone()),
                None => {
                    let turn = in_zone[caller.zone] % setup.agents_a_zone;
                    in_zone[caller.zone] += 1;
                    let agent = turn * zones + caller.zone;
                    let publisher = &mut agents[agent].publisher;
                    let counters = publisher.new_counters(1).expect("memory on the heap");
                    publisher.attach(counters.clone());
                    processes.push((caller.process, agent, counters.clone()));
                    (agent, counters)
                }
            };
            let ages = agents[agent].publisher.ages();
            let table = agents[agent].publisher.table();
            let picker = Picker::new(table, counters, seeds.seed(), None);
            SimulatedCaller { picker, ages, until_timed: seeds.below(TIMED_EVERY as usize) as u32 }
        });
        let callers = callers.collect();

        let slots = agents[0].publisher.slots();
        let mut backend_of = vec![0; slots.len()];
        for (backend, slot) in slots.iter().enumerate() {
            backend_of[*slot as usize] = backend;
        }
        Self { agents, callers, backend_of }
    }
}

impl Chooser for Pointsman {
    type Ticket = (Pick, Epoch);

    fn choose(&mut self, caller: usize, _: &[Server], _: Nanos) -> Option<(usize, (Pick, Epoch))> {
        let caller = &mut self.callers[caller];
        let pick = caller.picker.pick(&Request::default())?;
        let begun = caller.ages.began(pick.slot, pick.cost);
        Some((self.backend_of[pick.slot as usize], (pick, begun)))
    }

    fn ended(&mut self, caller: usize, ticket: (Pick, Epoch), latency: Nanos, _: Nanos) {
        let (pick, begun) = ticket;
        let SimulatedCaller { picker, ages, until_timed } = &mut self.callers[caller];
        let timed = *until_timed == 0;
        *until_timed = if timed { TIMED_EVERY - 1 } else { *until_timed - 1 };
        let latency_us = timed.then(|| u32::try_from(latency / 1_000).unwrap_or(u32::MAX));
        picker.end(pick.slot, pick.cost, Outcome::Success, latency_us);
        ages.ended(pick.slot, pick.cost, begun, true);
    }

    fn timers(&self) -> Vec<Nanos> {
        // Agents of different nodes publish at different instants.
        let count = self.agents.len() as u64;
        (1..).zip(&self.agents).map(|(n, agent)| nanos(agent.period) * n / count).collect()
    }

    fn tick(&mut self, timer: usize, now: Nanos) -> Nanos {
        let Agent { publisher, period } = &mut self.agents[timer];
        publisher.pass(Duration::from_nanos(now), *period);
        *period = publisher.wanted_period();
        now + nanos(*period)
    }
}

fn zone_name(zone: usize) -> Arc<str> {
    format!("zone-{zone}").into()
}

fn endpoints(backends: &[Backend]) -> Vec<EndpointRef> {
    let list: Arc<[Endpoint]> = (0..)
        .zip(backends)
        .map(|(index, backend)| Endpoint {
            zone: Some(zone_name(backend.zone)),
            ..endpoint(address(index), backend.weight)
        })
        .collect();
    EndpointRef::all(&list).collect()
}

/// A ready endpoint without zone, node and labels.
pub fn endpoint(address: SocketAddr, weight: u32) -> Endpoint {
    Endpoint { weight, ..Endpoint::at(address) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{
        arm::{Arm, run},
        arrivals::Arrivals,
        batch,
        queue::MILLISECOND,
        scenario::{CallerSpec, Work},
    };

    /// Callers with one request each, and endpoints that never queue, so that only the pick matters.
    fn closed(weights: &[u32], callers: usize) -> Scenario {
        let service = 10 * MILLISECOND;
        Scenario {
            backends: (weights.iter())
                .map(|weight| Backend { zone: 0, weight: *weight, workers: 2_000, service })
                .collect(),
            callers: vec![CallerSpec { zone: 0, process: 0 }; callers],
            arrivals: Arrivals::Closed,
            work: Work::Exponential,
            warm_up: Duration::from_secs(2),
            requests: 10_000,
        }
    }

    /// The endpoint whose share differs most from its weight's, and the difference as a part of all picks.
    fn largest_share_error(scenario: &Scenario) -> (usize, f64) {
        let outcome = run(scenario, &Arm::Pointsman(PointsmanSetup::default()), 1);
        let all: f64 = scenario.backends.iter().map(|b| f64::from(b.weight)).sum();
        let off = (scenario.backends.iter().zip(&outcome.shares))
            .map(|(backend, share)| (share - f64::from(backend.weight) / all).abs());
        off.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).expect("an endpoint")
    }

    #[test]
    fn shares_are_within_two_percent_of_the_weights_from_one_request_at_a_time_on() {
        let mut one_heavy = vec![1; 20];
        one_heavy[0] = 50;
        let mut one_light = vec![10; 19];
        one_light.push(1);
        let mut very_heavy = vec![1; 4];
        very_heavy[0] = 1_000;
        let rising: Vec<u32> = (1..=20).collect();
        let sets = [
            vec![9, 1],
            vec![2, 1],
            vec![9, 1, 1],
            vec![9, 9, 1],
            vec![2, 3, 4, 5],
            very_heavy,
            one_heavy,
            one_light,
            rising,
        ];
        let points: Vec<(&Vec<u32>, usize)> =
            sets.iter().flat_map(|set| [1, 2, 5, 16].map(|callers| (set, callers))).collect();
        let found =
            batch::run_all(&points, |(set, callers)| largest_share_error(&closed(set, *callers)));
        for ((weights, callers), (endpoint, off)) in points.iter().zip(found) {
            assert!(off < 0.02, "{callers} at a time on {weights:?}: {endpoint} is off by {off}");
        }
    }
}
