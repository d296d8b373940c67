//! The command line: arguments, and how answers are printed.
//!
//! - a file per subcommand: [`agent`], [`control_plane`], [`pick`], [`report`], [`services`],
//!   [`endpoints`], [`explain`], [`check`], [`csi`], [`xds`]
//! - [`client`]: calls the agent over its socket, with HTTP and JSON
//! - [`exit`]: a failure's message and exit code
//! - [`output`], [`mod@format`]: an answer as text or as JSON; numbers and times

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod agent;
pub mod check;
pub mod client;
pub mod control_plane;
pub mod csi;
pub mod endpoints;
pub mod exit;
pub mod explain;
pub mod format;
pub mod output;
pub mod pick;
pub mod report;
pub mod services;
pub mod xds;

/// Client-side load balancing: the agent of a node picks the endpoint of each request.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, arg_required_else_help = true)]
#[command(after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(Box<agent::Args>),
    ControlPlane(control_plane::Args),
    Pick(pick::Args),
    Report(report::Args),
    Services(services::Args),
    Endpoints(endpoints::Args),
    Explain(explain::Args),
    Check(check::Args),
    Csi(csi::Args),
    Xds(xds::Args),
    Demo(crate::demo::Args),
    Bench(crate::bench::Args),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Agent(args) => agent::run(*args),
        Command::ControlPlane(args) => control_plane::run(args),
        Command::Pick(args) => pick::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Services(args) => services::run(&args),
        Command::Endpoints(args) => endpoints::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Csi(args) => csi::run(args),
        Command::Xds(args) => xds::run(&args),
        Command::Demo(args) => return crate::demo::run(args),
        Command::Bench(args) => return crate::bench::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
