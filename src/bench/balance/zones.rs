//! What preferring the own zone costs in latency, and how many requests still cross zones.
//!
//! There are three zones with equally many callers. Agents know only the callers of their own zone. The
//! floor is the same agents with zones off, so the ratio is the effect of the preference alone. Agents
//! with zones off know only a part of what an endpoint has in flight; with zones on they know nearly
//! all of it. So exact counts of all zones are printed as a second floor. The agents do not know how
//! many workers an endpoint has.

use std::time::Duration;

use super::jobs::{Effort, Job, mean, p99, paired, run_jobs};
use crate::{
    bench::report::{Goal, Report, Row},
    policy::{Policy, ZoneMode},
    sim::{
        arm::Arm,
        arrivals::Arrivals,
        outcome::Outcome,
        pointsman::PointsmanSetup,
        queue::MILLISECOND,
        scenario::{CallerSpec, Scenario, Work},
        server::Backend,
    },
};

const ZONES: usize = 3;
const ENDPOINTS: [usize; 5] = [1, 2, 3, 5, 30];
const WORKERS: [usize; 3] = [1, 4, 16];
const LOADS: [f64; 3] = [0.5, 0.7, 0.85];
/// In each zone.
const CALLERS: usize = 16;
/// The least number in each zone. Each agent has at least one.
const PROCESSES: usize = 4;
const SERVICE_MS: u64 = 10;

const OVER_ZONE_BLIND: f64 = 1.15;

/// How the grid runs for a number of agents per zone.
struct Fleet {
    agents: usize,
    judged: bool,
    requests: usize,
    seeds: u64,
}

const FLEETS: [Fleet; 3] = [
    Fleet { agents: 1, judged: true, requests: 100_000, seeds: 4 },
    Fleet { agents: 4, judged: false, requests: 30_000, seeds: 1 },
    Fleet { agents: 16, judged: false, requests: 30_000, seeds: 1 },
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

    fn scenario(self, agents: usize, requests: usize, effort: &Effort) -> Scenario {
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
        let processes = PROCESSES.max(agents);
        let caller = |index| {
            let (zone, process) = (index % ZONES, index / ZONES % processes);
            CallerSpec { zone, process: zone * processes + process }
        };
        Scenario {
            backends,
            callers: (0..ZONES * CALLERS).map(caller).collect(),
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
    Arm::Pointsman(PointsmanSetup {
        policy: Policy { zone, ..Policy::default() },
        agents_a_zone: agents,
    })
}

/// Adds what was found to the report.
pub(super) fn run(effort: &Effort, report: &mut Report) {
    for fleet in &FLEETS {
        fleet.run(effort, report);
    }
}

impl Fleet {
    fn run(&self, effort: &Effort, report: &mut Report) {
        let places = Place::all(effort);
        let mut arms = vec![arm(ZoneMode::Prefer, self.agents), arm(ZoneMode::Off, self.agents)];
        if self.judged {
            arms.push(Arm::Exact);
        }
        let jobs: Vec<Job> = places
            .iter()
            .flat_map(|place| {
                let scenario = place.scenario(self.agents, self.requests, effort);
                arms.iter().map(move |arm| Job { scenario: scenario.clone(), arm: arm.clone() })
            })
            .collect();
        let outcomes = run_jobs(&jobs, effort.seeds(self.seeds));
        let met: Vec<(Place, &[Vec<Outcome>])> =
            places.into_iter().zip(outcomes.chunks(arms.len())).collect();
        let agents = match self.agents {
            1 => "1 agent a zone".to_owned(),
            n => format!("{n} agents a zone"),
        };
        let title =
            format!("Simulated: {ZONES} zones, endpoints a zone x workers, by load, {agents}");

        let over_blind = |(place, arms): &(Place, &[Vec<Outcome>])| {
            let row = place.p99(&format!("{agents}, over zone-blind"), &arms[0], &arms[1]);
            if self.judged { row.goal(Goal::ratio_at_most(OVER_ZONE_BLIND)) } else { row }
        };
        let section = report
            .section(format!("{title}: p99 over zone-blind"), met.iter().map(over_blind).collect());
        if self.judged {
            let worst = section.rows.iter().filter_map(|row| row.error).fold(0.0, f64::max);
            section.notes.push(format!(
                "Goal: at most {OVER_ZONE_BLIND}. Standard error at most {worst:.3}."
            ));
            let over_exact = |(place, arms): &(Place, &[Vec<Outcome>])| {
                place.p99(&format!("{agents}, over exact zone-blind"), &arms[0], &arms[2])
            };
            report.section(
                format!("{title}: p99 over zone-blind with exact counts"),
                met.iter().map(over_exact).collect(),
            );
        }
        let crossing = |(place, arms): &(Place, &[Vec<Outcome>])| place.crossing(&agents, &arms[0]);
        report.section(
            format!("{title}: % of requests that cross zones"),
            met.iter().map(crossing).collect(),
        );
    }
}

impl Place {
    fn p99(self, what: &str, ours: &[Outcome], floor: &[Outcome]) -> Row {
        let (line, column) = (self.line(), self.column());
        Row::value(format!("p99, 3 zones x {line} at {column}, {what}"), mean(ours, p99), "ms")
            .over(mean(floor, p99))
            .paired(paired(ours, floor, p99))
            .at(line, column)
    }

    fn crossing(self, agents: &str, prefer: &[Outcome]) -> Row {
        let (line, column) = (self.line(), self.column());
        let name = format!("cross-zone share, 3 zones x {line} at {column}, {agents}");
        Row::value(name, 100.0 * mean(prefer, |o| o.cross_zone), "%").at(line, column)
    }
}
