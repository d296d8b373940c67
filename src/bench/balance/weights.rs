//! Whether shares follow the weights, even with very few requests in flight.
//!
//! This is a closed loop: each caller has one request, and endpoints never queue. Then an endpoint's
//! share of the requests is its share of what is in flight, and only the pick decides it. With few
//! requests a light endpoint is nearly always idle. Scores alone would then give it far more than its
//! share: in a pair of 9:1, five times as much at two requests.

use std::time::Duration;

use super::jobs::{Effort, Job, run_jobs};
use crate::{
    bench::report::{Goal, Report, Row},
    sim::{
        arm::Arm,
        arrivals::Arrivals,
        estimate::Estimate,
        outcome::Outcome,
        pointsman::PointsmanSetup,
        queue::MILLISECOND,
        scenario::{CallerSpec, Scenario, Work},
        server::Backend,
    },
};

const CONCURRENCIES: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const SERVICE_MS: u64 = 10;
/// The virtual time that is measured. 16 callers send 1,600 requests a second, so the lightest endpoint,
/// with 1 of 191, gets 4,200 of them. With three seeds that gives 1% of noise per seed.
const MEASURED: Duration = Duration::from_secs(500);
/// The most requests, where many are in flight.
const REQUESTS: usize = 1_000_000;
const SEEDS: u64 = 3;

/// The most that the share of an endpoint may differ from its weight's, in % of all requests. It holds
/// from one request at a time on.
const OFF_AT_MOST: f64 = 2.0;

/// From this many concurrent requests the light endpoint's share has a goal of its own.
const JUDGED_FROM: usize = 16;
/// From this many concurrent requests that goal is strict.
const STRICT_FROM: usize = 64;

struct Weights {
    name: &'static str,
    weights: Vec<u32>,
    /// How many times its share the light endpoint may get, from [`JUDGED_FROM`] and from
    /// [`STRICT_FROM`] on.
    at_most: [f64; 2],
}

fn grid() -> Vec<Weights> {
    let mut one_light = vec![10; 19];
    one_light.push(1);
    vec![
        Weights { name: "1:1", weights: vec![1, 1], at_most: [1.3, 1.3] },
        Weights { name: "9:1", weights: vec![9, 1], at_most: [1.3, 1.15] },
        Weights { name: "2:3:4:5", weights: vec![2, 3, 4, 5], at_most: [1.3, 1.15] },
        Weights { name: "19 x 1 + 0.1", weights: one_light, at_most: [1.25, 1.25] },
    ]
}

impl Weights {
    fn scenario(&self, concurrency: usize, effort: &Effort) -> Scenario {
        let backend =
            |weight| Backend { zone: 0, weight, workers: 1024, service: SERVICE_MS * MILLISECOND };
        let a_second = concurrency as f64 * 1_000.0 / SERVICE_MS as f64;
        let requests = (MEASURED.as_secs_f64() * a_second) as usize;
        Scenario {
            backends: self.weights.iter().copied().map(backend).collect(),
            callers: vec![CallerSpec { zone: 0, process: 0 }; concurrency],
            arrivals: Arrivals::Closed,
            work: Work::Exponential,
            warm_up: effort.warm_up(Duration::from_secs(20)),
            requests: effort.requests(requests.min(REQUESTS)),
        }
    }

    fn goal(&self, concurrency: usize) -> Option<Goal> {
        match concurrency {
            n if n >= STRICT_FROM => Some(Goal::ratio_at_most(self.at_most[1])),
            n if n >= JUDGED_FROM => Some(Goal::ratio_at_most(self.at_most[0])),
            _ => None,
        }
    }

    /// The largest difference of a share from its weight's, in % of all requests.
    fn off(&self, outcome: &Outcome) -> f64 {
        let all = f64::from(self.weights.iter().sum::<u32>());
        let off = (outcome.shares.iter().zip(&self.weights))
            .map(|(share, weight)| (share - f64::from(*weight) / all).abs());
        100.0 * off.fold(0.0, f64::max)
    }

    /// The index of the lightest endpoint, and its share by weight.
    fn light(&self) -> (usize, f64) {
        let (index, weight) =
            self.weights.iter().enumerate().min_by_key(|(_, w)| **w).expect("some endpoint");
        (index, f64::from(*weight) / f64::from(self.weights.iter().sum::<u32>()))
    }
}

/// Adds what was found to the report.
pub(super) fn run(effort: &Effort, report: &mut Report) {
    let sets = grid();
    let concurrencies = effort.points(&CONCURRENCIES);
    let places: Vec<(&Weights, usize)> =
        sets.iter().flat_map(|set| concurrencies.iter().map(move |n| (set, *n))).collect();
    let jobs: Vec<Job> = places
        .iter()
        .map(|(set, concurrency)| Job {
            scenario: set.scenario(*concurrency, effort),
            arm: Arm::Pointsman(PointsmanSetup::default()),
        })
        .collect();
    let outcomes = run_jobs(&jobs, effort.seeds(SEEDS));
    let off = (places.iter().zip(&outcomes))
        .map(|((set, concurrency), outcomes)| {
            let off = Estimate::of(outcomes.iter().map(|outcome| set.off(outcome)));
            let name = format!("largest error of a share, {}, {concurrency} at a time", set.name);
            Row::value(name, off.mean, "%")
                .give_or_take(off.error)
                .at(set.name, concurrency.to_string())
                .goal(Goal::value_at_most(OFF_AT_MOST))
        })
        .collect();
    report.section(
        "Simulated: the largest difference of a share from its weight, in % of all requests",
        off,
    );
    let rows = places
        .iter()
        .zip(outcomes)
        .map(|((set, concurrency), outcomes)| {
            let (light, fair) = set.light();
            let share = Estimate::of(outcomes.iter().map(|o| o.shares[light]));
            let ratio = Estimate { mean: share.mean / fair, error: share.error / fair };
            let row = Row::value(
                format!("share of the light one, {}, {concurrency} at a time", set.name),
                share.mean,
                "",
            )
            .over(fair)
            .paired(ratio)
            .at(set.name, concurrency.to_string());
            match set.goal(*concurrency) {
                Some(goal) => row.goal(goal),
                None => row,
            }
        })
        .collect();
    report
        .section(
            "Simulated: share of the light endpoint over its part by weight, by requests at a time",
            rows,
        )
        .notes
        .push(
            "Goals: from 16 at a time at most 1.3 (19 x 1 + 0.1: 1.25), from 64 at most 1.15 \
             for 9:1 and 2:3:4:5."
                .into(),
        );
}
