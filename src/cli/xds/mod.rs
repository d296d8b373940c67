//! `pointsman xds`: for whoever connects clients to a control plane.

use super::exit::Failure;

mod bootstrap;
mod envoy;
mod grpc;
mod node;

/// Print what clients need to connect to a control plane.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Bootstrap(bootstrap::Args),
}

/// Runs one of its commands.
///
/// # Errors
/// Nobody reads what it prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Bootstrap(args) => bootstrap::run(args),
    }
}
