//! 20 endpoints with 4 workers each at 80% load: all equal, or one of them three times slower.

use std::{fmt, time::Duration};

use super::jobs::{Effort, Job, mean, p99, paired, run_jobs};
use crate::{
    bench::report::{Goal, Report, Row},
    sim::{
        Nanos,
        arm::Arm,
        arrivals::Arrivals,
        outcome::Outcome,
        pointsman::PointsmanSetup,
        queue::MILLISECOND,
        scenario::{CallerSpec, Scenario, Work},
        server::Backend,
    },
};

/// The number of endpoints.
pub(super) const ENDPOINTS: usize = 20;
/// The workers of each endpoint.
pub(super) const WORKERS: usize = 4;
/// The load, as a part of the capacity.
pub(super) const LOAD: f64 = 0.8;
/// The slow endpoint is slower by this factor.
pub(super) const SLOWER: Nanos = 3;
const SERVICES_MS: [Nanos; 3] = [1, 10, 100];

/// A p99 up to this ratio counts as that of exact counts. Random choice must exceed it.
const WITHIN_EXACT: f64 = 1.08;
/// Judged from this service time on. With shorter ones counts are older than the requests in them.
const EXACT_FROM_MS: Nanos = 10;
/// With a slow endpoint the p99 may be at most this part of the p99 with own counts only.
pub(super) const OF_OWN_COUNTS_WITH_SLOW: f64 = 0.4;

/// With these the standard error of a ratio is under 1%.
const SEEDS: u64 = 5;
const REQUESTS: usize = 300_000;

/// Whether all endpoints are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// All are equal.
    Equal,
    /// One is slower.
    OneSlow,
}

/// The calling processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Callers {
    /// One process with 64 threads, which share counters.
    OneProcess,
    /// 50 processes of one thread each.
    Fifty,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::OneSlow => "one slow",
        })
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneProcess => "1 process",
            Self::Fifty => "50 processes",
        })
    }
}

/// The scenario of this bench and of its counterpart with real processes.
pub(super) fn scenario(
    service_ms: Nanos,
    shape: Shape,
    callers: Callers,
    effort: &Effort,
) -> Scenario {
    let service = service_ms * MILLISECOND;
    let mut backends = vec![Backend { zone: 0, weight: 1, workers: WORKERS, service }; ENDPOINTS];
    if shape == Shape::OneSlow {
        backends[0].service *= SLOWER;
    }
    let callers = match callers {
        Callers::OneProcess => vec![CallerSpec { zone: 0, process: 0 }; 64],
        Callers::Fifty => (0..50).map(|process| CallerSpec { zone: 0, process }).collect(),
    };
    let capacity: f64 = backends.iter().map(Backend::capacity).sum();
    Scenario {
        backends,
        callers,
        arrivals: Arrivals::Open { rate: LOAD * capacity },
        work: Work::Exponential,
        warm_up: effort.warm_up(Duration::from_millis(500 * service_ms).max(WARM_UP)),
        requests: effort.requests(REQUESTS),
    }
}

/// Long enough for the agent to learn the service time and to plan by it.
const WARM_UP: Duration = Duration::from_secs(2);

/// The outcomes of all four arms at one point.
struct Point {
    service_ms: Nanos,
    shape: Shape,
    callers: Callers,
    table: Vec<Outcome>,
    own: Vec<Outcome>,
    exact: Vec<Outcome>,
    random: Vec<Outcome>,
}

/// Adds what was found to the report.
pub(super) fn run(effort: &Effort, report: &mut Report) {
    let mut places = Vec::new();
    for shape in [Shape::Equal, Shape::OneSlow] {
        for callers in [Callers::OneProcess, Callers::Fifty] {
            places.extend(SERVICES_MS.map(|service_ms| (service_ms, shape, callers)));
        }
    }
    let arms = [Arm::Pointsman(PointsmanSetup::default()), Arm::OwnCounts, Arm::Exact, Arm::Random];
    let jobs: Vec<Job> = places
        .iter()
        .flat_map(|&(service_ms, shape, callers)| {
            let scenario = scenario(service_ms, shape, callers, effort);
            arms.clone().map(|arm| Job { scenario: scenario.clone(), arm })
        })
        .collect();
    let mut outcomes = run_jobs(&jobs, effort.seeds(SEEDS)).into_iter();
    let mut next = || outcomes.next().expect("an outcome per job");
    let points: Vec<Point> = places
        .iter()
        .map(|&(service_ms, shape, callers)| Point {
            service_ms,
            shape,
            callers,
            table: next(),
            own: next(),
            exact: next(),
            random: next(),
        })
        .collect();
    for shape in [Shape::Equal, Shape::OneSlow] {
        let what = match shape {
            Shape::Equal => "equal",
            Shape::OneSlow => "one of them 3x slower",
        };
        let rows = points.iter().filter(|p| p.shape == shape).flat_map(Point::rows).collect();
        report.section(
            format!(
                "Simulated: {ENDPOINTS} endpoints x {WORKERS} workers, {what}, 80% of the \
                 capacity, exponential service"
            ),
            rows,
        );
    }
}

impl Point {
    fn rows(&self) -> Vec<Row> {
        let place = format!("{} ms, {}, {}", self.service_ms, self.shape, self.callers);
        let row = |what: &str, ours: &[Outcome], floor: &[Outcome]| {
            Row::value(format!("{place}: {what}"), mean(ours, p99), "ms")
                .over(mean(floor, p99))
                .paired(paired(ours, floor, p99))
        };
        let mut over_exact = row("p99 / exact counts", &self.table, &self.exact);
        if self.service_ms >= EXACT_FROM_MS {
            over_exact = over_exact.goal(Goal::ratio_at_most(WITHIN_EXACT));
        }
        let over_own = row("p99 / own counts only", &self.table, &self.own);
        let mut random = row("p99 of random / exact counts", &self.random, &self.exact);
        let over_own = match self.shape {
            Shape::Equal => {
                // A point at which random choice succeeds proves nothing.
                random = random.goal(Goal::ratio_above(WITHIN_EXACT));
                over_own.goal(Goal::ratio_below(1.0))
            }
            Shape::OneSlow => over_own.goal(Goal::ratio_at_most(OF_OWN_COUNTS_WITH_SLOW)),
        };
        let evenness = |outcome: &Outcome| outcome.max_over_mean;
        let even = |who: &str, ours: &[Outcome]| {
            Row::value(format!("{place}: max/mean in flight{who}"), mean(ours, evenness), "")
                .over(mean(&self.exact, evenness))
                .paired(paired(ours, &self.exact, evenness))
        };
        vec![
            over_exact,
            over_own,
            random,
            even("", &self.table),
            even(", own counts only", &self.own),
            even(", random", &self.random),
        ]
    }
}
