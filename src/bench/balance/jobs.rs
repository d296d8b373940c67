//! Simulated runs over a grid of scenarios, arms and seeds.

use std::time::Duration;

use crate::sim::{
    arm::{self, Arm},
    batch,
    estimate::Estimate,
    outcome::Outcome,
    scenario::Scenario,
};

/// How much to simulate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) smoke: bool,
    pub(super) seeds: Option<u64>,
}

impl Effort {
    /// The number of seeds for a point, where `enough` suffice for its noise.
    pub(super) fn seeds(&self, enough: u64) -> u64 {
        if self.smoke { 1 } else { self.seeds.unwrap_or(enough) }
    }

    /// The number of measured requests in a run, where `enough` suffice.
    pub(super) fn requests(&self, enough: usize) -> usize {
        if self.smoke { enough.min(2_000) } else { enough }
    }

    /// The time before the measurement, where `enough` suffices.
    pub(super) fn warm_up(&self, enough: Duration) -> Duration {
        if self.smoke { enough / 20 } else { enough }
    }

    /// The points of a grid to run.
    pub(super) fn points<T: Clone>(&self, all: &[T]) -> Vec<T> {
        let most = if self.smoke { 1 } else { all.len() };
        all[..most].to_vec()
    }
}

/// A scenario, and the arm to run it with.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Servers, callers, load.
    pub(super) scenario: Scenario,
    /// Who chooses.
    pub(super) arm: Arm,
}

/// Runs each job once per seed. The outcomes of a job are in the order of the seeds, so that equal
/// indices of two jobs had the same arrivals.
pub(super) fn run_jobs(jobs: &[Job], seeds: u64) -> Vec<Vec<Outcome>> {
    let runs: Vec<(&Job, u64)> =
        jobs.iter().flat_map(|job| (1..=seeds).map(move |seed| (job, seed))).collect();
    let outcomes = batch::run_all(&runs, |(job, seed)| arm::run(&job.scenario, &job.arm, *seed));
    outcomes.chunks(seeds as usize).map(<[Outcome]>::to_vec).collect()
}

/// The ratio of a figure to that of another arm, with the runs of equal seeds paired.
pub(super) fn paired(
    ours: &[Outcome],
    floor: &[Outcome],
    figure: impl Fn(&Outcome) -> f64,
) -> Estimate {
    Estimate::of(ours.iter().zip(floor).map(|(a, b)| figure(a) / figure(b)))
}

/// The p99 in milliseconds.
pub(super) fn p99(outcome: &Outcome) -> f64 {
    outcome.p99 as f64 / 1e6
}

/// The mean of a figure over the seeds.
pub(super) fn mean(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> f64 {
    Estimate::of(outcomes.iter().map(figure)).mean
}
