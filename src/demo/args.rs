//! Arguments of `pointsman demo`.

use std::time::Duration;

use clap::ValueEnum;

use super::scenario::RunConfig;

/// Run a small load on this machine, balanced in three ways at once, and compare the ways.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long the load runs.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=600))]
    pub seconds: u64,
    /// The seed of the arrivals, the work and the random choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What to print at the end.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Have the agents choose at random: the comparison must then fail.
    #[arg(long, hide = true)]
    pub random: bool,
    /// Run as this part of a demo.
    #[arg(long, value_enum, hide = true)]
    pub(super) part: Option<Part>,
    /// Arguments of the agent.
    #[arg(last = true, hide = true)]
    pub(super) arguments: Vec<String>,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Progress while it runs, then a table.
    #[default]
    Table,
    /// Only rows of `{name, value, unit, floor, ratio, goal, met}`.
    Json,
}

/// What a child process of a demo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    BackEnds,
    Caller,
    Agent,
}

impl Args {
    pub(super) fn run_config(&self) -> RunConfig {
        RunConfig { length: Duration::from_secs(self.seconds), seed: self.seed }
    }
}
