//! `pointsman demo`: what a pick per request is worth, measured on this machine in half a minute.
//!
//! Three zones of real HTTP back-ends of unequal speed, an agent per zone as on three nodes, and a
//! dozen client processes. Each arrival is sent three times at once, with the same work, to three
//! equal sets of back-ends, and the arms differ in the choice alone (`scene::Arm`). Meanwhile one
//! back-end turns slow, one starts failing, one is added and one removed.
//!
//! - `scene`: what is there, and what happens to it
//! - `back_end`, `balance`: the servers, and how evenly they are used
//! - `caller`: the load, and how each arm finds a back-end
//! - `child`, `message`: the processes, and what they tell each other
//! - `services`: the file that the agents read
//! - `stage`: one run from start to end
//! - `tally`, `usage`, `verdict`: what was measured, and what must hold
//! - `live`, `summary`: what is printed

mod back_end;
mod balance;
mod caller;
mod child;
mod live;
mod message;
mod scene;
mod services;
mod stage;
mod summary;
mod tally;
mod usage;
mod verdict;

use std::{io, process::ExitCode, time::Duration};

use clap::ValueEnum;

/// Run a small load on this machine, balanced three ways at once, and compare them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long the load runs.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=600))]
    pub seconds: u64,
    /// Of the arrivals, the work and the random choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What to print at the end.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Have the agents choose at random: the comparison must then fail.
    #[arg(long, hide = true)]
    pub random: bool,
    /// This process is a part of a running demo.
    #[arg(long, value_enum, hide = true)]
    part: Option<Part>,
    /// Arguments of the agent.
    #[arg(last = true, hide = true)]
    arguments: Vec<String>,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Live, then a table.
    #[default]
    Table,
    /// Rows of `{name, value, unit, floor, ratio, goal, met}`, and nothing else.
    Json,
}

/// What a child process of a demo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    BackEnds,
    Caller,
    Agent,
}

/// Runs the demo, or one of its parts: 0 where the bounds are met, 1 where not, 2 where it could
/// not run.
pub fn run(args: Args) -> ExitCode {
    let tied = if args.part.is_some() { child::tie_to_parent() } else { Ok(()) };
    if args.part == Some(Part::Agent) {
        return child::become_agent(&args.arguments);
    }
    // One thread each: a dozen processes share this machine's cores already. Children are tied to
    // the thread that starts them, so that has to be the main one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = tied.and(runtime).and_then(|runtime| {
        runtime.block_on(async {
            match args.part {
                None => stage::perform(&args).await,
                Some(Part::BackEnds) => back_end::serve().await.map(|()| true),
                Some(_) => caller::call().await.map(|()| true),
            }
        })
    });
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // The demo is gone, so nobody is left to tell.
        Err(error) if args.part.is_some() && error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("pointsman demo: {error}");
            ExitCode::from(2)
        }
    }
}

impl Args {
    fn run(&self) -> scene::Run {
        scene::Run { length: Duration::from_secs(self.seconds), seed: self.seed }
    }
}
