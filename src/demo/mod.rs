//! `pointsman demo`: what a pick per request gains, measured on this machine in half a minute.
//!
//! It starts real HTTP back-ends of unequal speed in three zones, an agent per zone as on three nodes,
//! and a dozen client processes. Each arrival sends three requests at once, with the same work, to three
//! equal sets of back-ends. The arms differ only in the choice (`scenario::Arm`). During the run one
//! back-end becomes slow, one starts to fail, one is added and one is removed.
//!
//! - `args`: the arguments
//! - `scenario`: zones, back-ends, load, and the changes during a run
//! - `back_end`, `in_flight`: the servers, and how evenly requests in flight are spread over them
//! - `caller`: the load, and how each arm finds a back-end
//! - `child_process`, `message`: the child processes, and the messages to and from them
//! - `services`: the services file of the agents
//! - `orchestrator`: one run from start to end
//! - `tally`, `process_usage`, `bounds`: what was measured, and the bounds that it must meet
//! - `progress`, `summary`: what is printed

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
    // One thread in each process: a dozen processes share this machine's cores already. A child ends
    // with the thread that started it, so the main thread has to start them.
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
        // The parent is gone, so nobody would read an error message.
        Err(error) if args.part.is_some() && error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("pointsman demo: {error}");
            ExitCode::from(2)
        }
    }
}
