//! `pointsman demo`: what a pick per request is worth, measured on this machine in half a minute.
//!
//! Three zones of real HTTP back-ends of unequal speed, an agent per zone as on three nodes, and a
//! dozen client processes. Each arrival is sent three times at once, with the same work, to three
//! equal sets of back-ends, and the arms differ in the choice alone (`scenario::Arm`). Meanwhile one
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

mod args;
mod back_end;
mod bounds;
mod caller;
mod child_process;
mod in_flight;
mod message;
mod orchestrator;
mod process_usage;
mod progress;
mod scenario;
mod services;
mod summary;
mod tally;

use std::{io, process::ExitCode};

use self::args::Part;
pub use self::args::{Args, Output};

/// Runs the demo, or one of its parts: 0 where the bounds are met, 1 where not, 2 where it could
/// not run.
pub fn run(args: Args) -> ExitCode {
    let tied = if args.part.is_some() { child_process::exit_with_parent() } else { Ok(()) };
    if args.part == Some(Part::Agent) {
        return child_process::become_agent(&args.arguments);
    }
    // One thread each: a dozen processes share this machine's cores already. Children are tied to
    // the thread that starts them, so that has to be the main one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = tied.and(runtime).and_then(|runtime| {
        runtime.block_on(async {
            match args.part {
                None => orchestrator::run(&args).await,
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
