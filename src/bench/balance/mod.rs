//! How evenly and how fast requests are spread.
//!
//! - `even`: 20 equal endpoints, or one of them slow, for one process and for fifty
//! - `weights`: whether shares follow the weights, from 1 to 256 concurrent requests
//! - `zones`: what preferring the own zone costs, and how many requests still cross zones
//! - `jobs`: runs simulations over seeds, for those three
//! - `real`: the comparison of `even` with real processes
//!
//! All but `real` are simulated: the real planner, publishing arithmetic, picker and counters on virtual
//! time, beside rivals that get the same arrivals with the same work.

use std::io;

use self::jobs::Effort;
use super::report::Report;

mod even;
mod jobs;
mod real;
mod weights;
mod zones;

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

/// A part that `--only` can select.
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

/// Runs the selected parts.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let mut report = Report::default();
    if let Some(order) = &args.caller {
        real::call(order)?;
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
        real::run(&effort, smoke, &mut report)?;
    }
    Ok(report)
}
