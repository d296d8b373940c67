//! `pointsman check`: finds what is wrong between programs here and the agent, and how to correct it.
//!
//! - `socket`: whether the socket exists, is mounted correctly, and accepts this user
//! - `agent`: the agent's version, clock, sources and settings
//! - `kernel`: what an agent needs from this system

use serde::Serialize;

use super::{
    client,
    exit::{Failure, Kind},
    output::{self, Format, Page, style},
    table::{Align, Cell, Table},
};

mod agent;
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

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// The name of the check.
    what: &'static str,
    verdict: Verdict,
    seen: String,
    /// How to correct it; empty if nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    right: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// It works, but not as well as it could, or not for long.
    Doubtful,
    Wrong,
}

impl Finding {
    fn good(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, seen: seen.into(), right: String::new() }
    }

    fn doubtful(what: &'static str, seen: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Doubtful, seen: seen.into(), right: right.into() }
    }

    fn wrong(what: &'static str, seen: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Wrong, seen: seen.into(), right: right.into() }
    }
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
        let mut page = Page::new(args.output);
        table(&findings).write(&mut page);
        page.print()?;
    }
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    match (wrong, reachable) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::other(format!("{wrong} of {} checks failed", findings.len()))),
        (_, false) => Err(Failure::new(Kind::NoAgent, "the agent is not reachable")),
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&[("", Align::Left), ("CHECK", Align::Left), ("SEEN", Align::Left)]);
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
