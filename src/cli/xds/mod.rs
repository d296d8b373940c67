//! `pointsman xds`: for whoever connects clients to a control plane, or wonders what they are told.
//!
//! - `bootstrap`: a client's bootstrap file; `envoy`, `grpc`: those of each kind; `node`: who the client is
//! - `get`, `watch`, `diff`: what a control plane tells a client; `ask`: as which client, and what it asks for
//! - `observer`: a client that only looks, without IO; `session`: its stream
//! - `resource_type`, `contents`: what a resource is and says; `changes`: how two of them differ

use super::exit::Failure;

mod ask;
mod bootstrap;
mod changes;
mod contents;
mod diff;
mod envoy;
mod get;
mod grpc;
mod node;
mod observer;
mod resource_type;
mod session;
mod watch;

/// Connect clients to a control plane, and look at what it tells them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Bootstrap(bootstrap::Args),
    Get(Box<get::Args>),
    Watch(Box<watch::Args>),
    Diff(Box<diff::Args>),
}

/// Runs one of its commands.
///
/// # Errors
/// The control plane can't be reached, or does not have what was asked for; or nobody reads what it prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Bootstrap(args) => bootstrap::run(args),
        Command::Get(args) => get::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Diff(args) => diff::run(args),
    }
}
