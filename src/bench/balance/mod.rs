//! How evenly and how fast requests are spread.
//!
//! - [`even`]: 20 endpoints alike, or one of them slow, for one process and for fifty
//! - [`weights`]: whether shares come out as the weights ask, from 1 to 256 requests at a time
//! - [`zones`]: what preferring the own zone costs, and how much still crosses
//!
//! All of these are simulated: the shipped planner, publishing arithmetic, picker and counters on
//! virtual time, beside rivals that meet the same arrivals with the same work.

use std::{io, time::Duration};

use super::{real_processes, report::Report};
use crate::sim::{
    arm::{self, Arm},
    batch,
    estimate::Estimate,
    outcome::Outcome,
    scenario::Scenario,
};

pub mod even;
pub mod weights;
pub mod zones;

/// Arguments of `pointsman bench balance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these parts, by comma; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Runs of each point with seeds of their own.
    #[arg(long)]
    seeds: Option<u64>,
    /// A calling process, by its order.
    #[arg(long, hide = true)]
    caller: Option<String>,
}

/// What can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Equal endpoints, and one of them slow.
    Even,
    /// Shares by weight.
    Weights,
    /// Own zone first.
    Zones,
    /// With real processes.
    Real,
}

/// Runs what is asked for.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let mut report = Report::default();
    if let Some(order) = &args.caller {
        real_processes::call(order)?;
        return Ok(report);
    }
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let effort = Effort { smoke, seeds: args.seeds };
    if wanted(Part::Even) {
        even::run(&effort, &mut report);
    }
    if wanted(Part::Weights) {
        weights::run(&effort, &mut report);
    }
    if wanted(Part::Zones) {
        zones::run(&effort, &mut report);
    }
    if wanted(Part::Real) {
        real_processes::run(&effort, smoke, &mut report)?;
    }
    Ok(report)
}

/// How much to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    smoke: bool,
    seeds: Option<u64>,
}

impl Effort {
    /// Seeds a point, where so many are enough for its noise.
    pub fn seeds(&self, enough: u64) -> u64 {
        if self.smoke { 1 } else { self.seeds.unwrap_or(enough) }
    }

    /// Measured requests a run, where so many are enough.
    pub fn requests(&self, enough: usize) -> usize {
        if self.smoke { enough.min(2_000) } else { enough }
    }

    /// Time before the measurement.
    pub fn warm_up(&self, enough: Duration) -> Duration {
        if self.smoke { enough / 20 } else { enough }
    }

    /// The points of a grid that are tried.
    pub fn points<T: Clone>(&self, all: &[T]) -> Vec<T> {
        let most = if self.smoke { 1 } else { all.len() };
        all[..most].to_vec()
    }
}

/// A scenario met by one arm.
#[derive(Clone, Debug)]
pub struct Job {
    /// Servers, callers, load.
    pub scenario: Scenario,
    /// Who chooses.
    pub arm: Arm,
}

/// Runs every job once a seed; the outcomes of a job stand in the order of the seeds, so that the
/// same index of two jobs met the same arrivals.
pub fn run_jobs(jobs: &[Job], seeds: u64) -> Vec<Vec<Outcome>> {
    let runs: Vec<(&Job, u64)> =
        jobs.iter().flat_map(|job| (1..=seeds).map(move |seed| (job, seed))).collect();
    let outcomes = batch::run_all(&runs, |(job, seed)| arm::run(&job.scenario, &job.arm, *seed));
    outcomes.chunks(seeds as usize).map(<[Outcome]>::to_vec).collect()
}

/// A figure of every seed's run over that of the same seed's run of another arm.
pub fn paired(ours: &[Outcome], floor: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> Estimate {
    Estimate::of(ours.iter().zip(floor).map(|(a, b)| figure(a) / figure(b)))
}

/// The p99 in milliseconds.
pub fn p99(outcome: &Outcome) -> f64 {
    outcome.p99 as f64 / 1e6
}

/// The mean of a figure over the seeds.
pub fn mean(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> f64 {
    Estimate::of(outcomes.iter().map(figure)).mean
}
