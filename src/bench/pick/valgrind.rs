//! Instructions and allocations of a pick with its end, counted by valgrind. There are two runs of
//! different length, so that everything but the picks cancels.

use std::{env, io, process::Command};

use super::service::ENDPOINTS;
use crate::bench::report::{Goal, Report, Row};

const PICKS: u32 = 100_000;
/// The number of endpoints must hardly matter. Only with few endpoints are there redraws, which the floor
/// makes, too.
const INSTRUCTIONS_ALIKE: f64 = 1.05;
/// The size with which the others are compared.
const USUAL: u32 = 100;

pub(super) fn section(smoke: bool, report: &mut Report) -> io::Result<()> {
    let picks = if smoke { PICKS / 100 } else { PICKS };
    let mut rows = Vec::new();
    let mut unavailable = None;
    let both = |endpoints| -> io::Result<Option<(f64, f64)>> {
        let ours = count(Measure::Instructions, endpoints, picks)?;
        Ok(ours.zip(count(Measure::FloorInstructions, endpoints, picks)?))
    };
    let usual = both(USUAL)?.map(|(ours, floor)| ours / floor);
    for endpoints in ENDPOINTS {
        let name = format!("instructions of pick + done, {endpoints} endpoints");
        let (Some((ours, floor)), Some(usual)) = (both(endpoints)?, usual) else {
            unavailable = Some("Not counted: there is no valgrind here.".to_owned());
            rows.push(Row::unmeasured(name, ""));
            continue;
        };
        rows.push(Row::value(&name, ours, "").over(floor));
        let row = Row::value(format!("  that ratio, over the one at {USUAL}"), ours / floor, "");
        rows.push(row.over(usual).goal(Goal::ratio_at_most(INSTRUCTIONS_ALIKE)));
    }
    let name = format!("allocations of pick + done, {USUAL} endpoints");
    let row = match count(Measure::Allocations, USUAL, picks)? {
        Some(count) => Row::value(name, count, ""),
        None => Row::unmeasured(name, ""),
    };
    rows.push(row.goal(Goal::value_at_most(0.0)));
    report.section("Counted by valgrind, over the floor's", rows).notes.extend(unavailable);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Instructions,
    FloorInstructions,
    Allocations,
}

/// The count per pick. `None` without valgrind.
fn count(measure: Measure, endpoints: u32, picks: u32) -> io::Result<Option<f64>> {
    let (Some(once), Some(twice)) =
        (total(measure, endpoints, picks)?, total(measure, endpoints, 2 * picks)?)
    else {
        return Ok(None);
    };
    Ok(Some((twice as f64 - once as f64) / f64::from(picks)))
}

fn total(measure: Measure, endpoints: u32, picks: u32) -> io::Result<Option<u64>> {
    let mut valgrind = Command::new("valgrind");
    match measure {
        Measure::Allocations => valgrind.args(["--tool=memcheck"]),
        _ => valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]),
    };
    valgrind.arg(env::current_exe()?).args(["bench", "pick", "--bare"]);
    valgrind.args([endpoints.to_string(), picks.to_string()]);
    if measure == Measure::FloorInstructions {
        valgrind.arg("--floor");
    }
    let output = match valgrind.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let number = match measure {
        Measure::Allocations => number_after(&said, "total heap usage: "),
        _ => number_after(&said, "Collected : "),
    };
    number.map(Some).ok_or_else(|| io::Error::other(format!("valgrind did not count: {said}")))
}

/// The number that follows `label`, which valgrind writes with commas.
fn number_after(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    let number = rest.split(|c: char| !c.is_ascii_digit() && c != ',').next()?;
    number.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn valgrind_s_numbers_are_read_with_their_commas() {
        let said = "==7== total heap usage: 1,234 allocs, 1,200 frees\n==7== Collected : 98765\n";
        assert_eq!(number_after(said, "total heap usage: "), Some(1_234));
        assert_eq!(number_after(said, "Collected : "), Some(98_765));
        assert_eq!(number_after(said, "Refs: "), None);
    }
}
