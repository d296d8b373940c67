//! What preferring the own zone costs in latency, and how much crosses nevertheless.
//!
//! Three zones with as many callers each, and agents that see only their own zone's callers. The
//! floor is the same agents with zones off: what the preference adds is the preference's own. The
//! agents are not told how many workers an endpoint has.

use std::time::Duration;

use super::{Effort, Job, mean, p99, paired, run_jobs};
use crate::{
    bench::report::{Goal, Report, Row},
    policy::{Policy, ZoneMode},
    sim::{
        arm::{Arm, Pointsman},
        arrivals::Arrivals,
        outcome::Outcome,
        queue::MILLISECOND,
        scenario::{Caller, Scenario, Work},
        server::Backend,
    },
};

const ZONES: usize = 3;
const ENDPOINTS: [usize; 5] = [1, 2, 3, 5, 30];
const WORKERS: [usize; 3] = [1, 4, 16];
const LOADS: [f64; 3] = [0.5, 0.7, 0.85];
const CALLERS: usize = 48;
const SERVICE_MS: u64 = 10;

const OVER_ZONE_BLIND: f64 = 1.15;

/// How the grid is run for so many agents a zone.
struct Fleet {
    agents: usize,
    judged: bool,
    /// Few endpoints swing slowly and need more requests for the same certainty.
    requests: fn(usize) -> usize,
    seeds: u64,
}

const FLEETS: [Fleet; 3] = [
    Fleet {
        agents: 1,
        judged: true,
        requests: |endpoints| if endpoints <= 3 { 300_000 } else { 200_000 },
        seeds: 4,
    },
    Fleet { agents: 4, judged: false, requests: |_| 100_000, seeds: 2 },
    Fleet { agents: 16, judged: false, requests: |_| 100_000, seeds: 2 },
];

#[derive(Clone, Copy)]
struct Place {
    endpoints: usize,
    workers: usize,
    load: f64,
}

impl Place {
    fn all(effort: &Effort) -> Vec<Self> {
        let mut places = Vec::new();
        for endpoints in ENDPOINTS {
            for workers in WORKERS {
                places.extend(LOADS.map(|load| Self { endpoints, workers, load }));
            }
        }
        effort.points(&places)
    }

    fn scenario(self, requests: usize, effort: &Effort) -> Scenario {
        let service = SERVICE_MS * MILLISECOND;
        let backends: Vec<Backend> = (0..ZONES * self.endpoints)
            .map(|i| Backend {
                zone: i / self.endpoints,
                weight: 1,
                workers: self.workers,
                service,
            })
            .collect();
        let capacity: f64 = backends.iter().map(Backend::capacity).sum();
        let caller = |process| Caller { zone: process % ZONES, process };
        Scenario {
            backends,
            callers: (0..CALLERS).map(caller).collect(),
            arrivals: Arrivals::Open { rate: self.load * capacity },
            work: Work::Exponential,
            warm_up: effort.warm_up(Duration::from_secs(10)),
            requests: effort.requests(requests),
        }
    }

    fn line(self) -> String {
        format!("{} x {}", self.endpoints, self.workers)
    }

    fn column(self) -> String {
        format!("{:.0}%", self.load * 100.0)
    }
}

fn arm(zone: ZoneMode, agents: usize) -> Arm {
    Arm::Pointsman(Pointsman {
        policy: Policy { zone, ..Policy::default() },
        agents_a_zone: agents,
    })
}

/// Adds what was found to the report.
pub fn run(effort: &Effort, report: &mut Report) {
    for fleet in &FLEETS {
        fleet.run(effort, report);
    }
}

impl Fleet {
    fn run(&self, effort: &Effort, report: &mut Report) {
        let places = Place::all(effort);
        let jobs: Vec<Job> = places
            .iter()
            .flat_map(|place| {
                let scenario = place.scenario((self.requests)(place.endpoints), effort);
                [ZoneMode::Prefer, ZoneMode::Off]
                    .map(|zone| Job { scenario: scenario.clone(), arm: arm(zone, self.agents) })
            })
            .collect();
        let outcomes = run_jobs(&jobs, effort.seeds(self.seeds));
        let arms: Vec<(Place, &[Vec<Outcome>])> =
            places.into_iter().zip(outcomes.chunks(2)).collect();
        let agents = match self.agents {
            1 => "1 agent a zone".to_owned(),
            n => format!("{n} agents a zone"),
        };
        let title =
            format!("Simulated: {ZONES} zones, endpoints a zone x workers, by load, {agents}");
        let rows = arms.iter().map(|(place, arms)| self.p99(&agents, *place, &arms[0], &arms[1]));
        let section = report.section(format!("{title}: p99 over zone-blind"), rows.collect());
        if self.judged {
            section.notes.push(format!("Goal: at most {OVER_ZONE_BLIND}."));
        }
        let rows = arms.iter().map(|(place, arms)| crossing(&agents, *place, &arms[0]));
        report.section(format!("{title}: % of requests that cross zones"), rows.collect());
    }

    fn p99(&self, agents: &str, place: Place, prefer: &[Outcome], blind: &[Outcome]) -> Row {
        let (line, column) = (place.line(), place.column());
        let row = Row::value(
            format!("p99, 3 zones x {line} at {column}, {agents}"),
            mean(prefer, p99),
            "ms",
        )
        .over(mean(blind, p99))
        .paired(paired(prefer, blind, p99))
        .at(line, column);
        if self.judged { row.goal(Goal::ratio_at_most(OVER_ZONE_BLIND)) } else { row }
    }
}

fn crossing(agents: &str, place: Place, prefer: &[Outcome]) -> Row {
    let (line, column) = (place.line(), place.column());
    let name = format!("cross-zone share, 3 zones x {line} at {column}, {agents}");
    Row::value(name, 100.0 * mean(prefer, |o| o.cross_zone), "%").at(line, column)
}
