//! `pointsman check`: what is wrong between a program here and the agent, and what would be right.
//!
//! - `socket`: whether the socket is there, mounted as it should be, and lets us in
//! - `agent`: which agent answers, and whether it knows what is current
//! - `kernel`: what an agent needs of the system here

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

/// Say what is wrong with the socket, the agent or this system, and what would be right.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// In a word or two.
    what: &'static str,
    verdict: Verdict,
    /// What was seen.
    seen: String,
    /// What would be right, where something isn't.
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

/// Looks at everything and prints what was found.
///
/// # Errors
/// When something is wrong: code 5 if it keeps the agent from being reached.
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
        (_, true) => Err(Failure::other(format!("{wrong} of {} are wrong", findings.len()))),
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
