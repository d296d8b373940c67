//! The benches. Each measures a minimal implementation, the floor, in the same run as ours.
//!
//! - [`report`]: rows with floors, ratios and goals; tables for people, JSON for machines
//! - [`pick`]: what a pick and its end cost a caller
//! - [`socket`]: what a call over the socket costs
//! - [`publish`]: what publishing costs the node, and what it costs that others have requests open
//! - [`memory`], [`idle`], [`start`]: the memory of a real agent, its cost at rest, and how soon it
//!   picks after a restart
//! - [`isolation`]: what one caller's attacks do to the agent and to another's picks
//! - [`misspelt`]: how callers that misspell names affect the picks of another caller
//! - [`fanout`]: what a control plane costs, and how soon a change is at a thousand agents
//! - [`thread_usage`]: the processor time of a process and of its threads
//! - [`balance`]: how evenly and how fast, simulated, and with real processes
//!
//! A missed goal gives exit code 1. `--smoke` runs everything briefly and judges nothing.

use std::process::ExitCode;

mod agent_process;
pub mod balance;
pub mod fanout;
mod http_client;
pub mod idle;
pub mod isolation;
pub mod memory;
pub mod misspelt;
pub mod pick;
pub mod publish;
pub mod report;
mod resident;
pub mod socket;
pub mod start;
mod temporary_folder;
pub mod thread_usage;

/// Measure what Pointsman costs and how well it balances, and compare with the goals.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// The format of the report.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: report::Output,
    /// Run for a few seconds only, and judge no goals.
    #[arg(long, global = true)]
    smoke: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Time, instructions and allocations of a pick with its end, compared with a bare loop of the same
    /// loads and counter updates.
    Pick(pick::Args),
    /// Picks and reports over the socket, compared with bare servers of the same framing and bytes.
    Socket(socket::Args),
    /// One publishing pass over 200 processes x 1,000 slots, and its share of a core. Then the period
    /// of a busy service while others have requests open.
    Publish,
    /// How evenly requests are spread and how fast they are, compared with random choice, own counts
    /// only and exact counts (simulated, then with real processes).
    Balance(balance::Args),
    /// The agent's memory: empty, and with 1,000 services of 100 endpoints.
    Memory,
    /// How soon a restarted agent picks while its source is away.
    Start,
    /// How often the agent wakes while nothing happens, and whether it sleeps through a pick.
    Idle,
    /// Attacks of one caller, in a control group with the DaemonSet's limit: the agent's memory, and
    /// how soon it answers another caller's picks.
    Isolation(isolation::Args),
    /// One caller's picks while others misspell names as fast as they can, with 10,000 services.
    Misspelt,
    /// A control plane with 1,000 agents: how soon all have a change, what a rolling restart costs, what a
    /// move to another server costs, and the memory.
    Fanout(fanout::Args),
}

/// Runs one bench and prints its report.
pub fn run(args: Args) -> ExitCode {
    let report = match args.what {
        What::Pick(pick) => pick::run(&pick, args.smoke),
        What::Socket(socket) => socket::run(&socket, args.smoke),
        What::Publish => publish::run(args.smoke),
        What::Balance(balance) => balance::run(&balance, args.smoke),
        What::Memory => memory::run(args.smoke),
        What::Start => start::run(args.smoke),
        What::Idle => idle::run(args.smoke),
        What::Isolation(isolation) => isolation::run(&isolation, args.smoke),
        What::Misspelt => misspelt::run(args.smoke),
        What::Fanout(fanout) => fanout::run(&fanout, args.smoke),
    };
    let judged = |report: report::Report| if args.smoke { report.unjudged() } else { report };
    match report.map(judged).and_then(|report| report.print(args.output).map(|()| report)) {
        Ok(report) if report.missed() == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pointsman bench: {error}");
            ExitCode::from(2)
        }
    }
}
