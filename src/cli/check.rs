//! `pointsman check`: finds what is wrong between programs here and the agent, and how to correct it.
//!
//! - `socket`: whether the socket exists, is mounted correctly, and accepts this user
//! - `agent`: the agent's version, clock, sources and settings
//! - `kernel`: what an agent needs from this system
//! - `finding`: what a check found

use super::{
    client,
    exit::{Failure, Kind},
    output::{self, Format},
};
use crate::terminal::{Align, Cell, Table, style};

use finding::{Finding, Verdict};

mod agent;
mod finding;
mod kernel;
mod socket;

/// Check the socket, the agent and this system, and show how to correct what is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// # Errors
/// Something is wrong; exit code 5 if the agent can't be reached.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut findings = socket::check(args.client.socket.path());
    let reachable = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    if reachable {
        findings.extend(agent::check(&args.client));
    }
    findings.extend(kernel::check());
    if args.output.format == Format::Json {
        output::print_json(&findings)?;
    } else {
        let mut page = args.output.page();
        table(&findings).write(&mut page);
        output::print(&page)?;
    }
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    match (wrong, reachable) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::other(format!("{wrong} of {} checks failed", findings.len()))),
        (_, false) => Err(Failure::new(Kind::NoAgent, "the agent is not reachable")),
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new([("", Align::Left), ("CHECK", Align::Left), ("SEEN", Align::Left)]);
    for finding in findings {
        let (word, style) = match finding.verdict {
            Verdict::Good => ("ok", style::GOOD),
            Verdict::Doubtful => ("doubtful", style::WARN),
            Verdict::Wrong => ("wrong", style::BAD),
        };
        let seen = match finding.right.as_str() {
            "" => finding.seen.clone(),
            right => format!("{}: {right}", finding.seen),
        };
        table.row(vec![Cell::styled(word, style), finding.what.into(), seen.into()]);
    }
    table
}
