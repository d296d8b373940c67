//! `pointsman explain`: why a service's picks go where they go.
//!
//! It is written for a person who is woken at night: first what is unusual, then the plan with its
//! reasons, last the settings with their origins.

use std::time::{Duration, SystemTime};

use clap::builder::NonEmptyStringValueParser;

use super::{
    client,
    exit::Failure,
    format,
    output::{self, Format},
};
use crate::{
    api::v1,
    clock,
    terminal::{Align, Cell, Page, Table, style},
};

/// Explain where a service's picks go, and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service: name.namespace[@cluster][:port].
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// Explain picks with this label selector; may be given several times.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = format::parse_label)]
    selector: Vec<(String, String)>,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// # Errors
/// The agent's error.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut path = format!("/v1/services/{}/explain", client::escape(&args.service));
    for (index, (label, value)) in args.selector.iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        let (label, value) = (client::escape(label), client::escape(value));
        path.push_str(&format!("{separator}selector.{label}={value}"));
    }
    let response: v1::ExplainResponse = client::get(&args.client, &path)?;
    if args.output.format == Format::Json {
        return output::print_json(&response);
    }
    let mut page = args.output.page();
    // Aligned in a pipe, too: people read it in a file, a pager or a chat. Scripts use JSON.
    page.aligned = true;
    write(&mut page, &response, clock::wall());
    output::print(&page)
}

fn write(page: &mut Page, explained: &v1::ExplainResponse, now: SystemTime) {
    let rhythm = format!(": {}", rhythm(explained));
    page.styled(&[(style::HEAD, &explained.service), (style::PLAIN, &rhythm)]);
    for note in &explained.notes {
        page.styled(&[(style::WARN, &format!("! {note}"))]);
    }
    heading(page, "GROUPS");
    for group in &explained.groups {
        write_group(page, group);
    }
    heading(page, "ENDPOINTS");
    endpoints(explained).write(page);
    heading(page, "LAST PICKS, SAMPLED");
    for pick in &explained.picks {
        write_pick(page, pick, now);
    }
    if explained.picks.is_empty() {
        page.line("none through this agent's socket so far");
    }
    heading(page, "POLICY");
    policy(&explained.policy).write(page);
}

fn heading(page: &mut Page, text: &str) {
    page.line("");
    page.styled(&[(style::HEAD, text)]);
}

/// The plan's number, the publishing period and the retry budget.
fn rhythm(explained: &v1::ExplainResponse) -> String {
    let period = explained.period.and_then(|period| Duration::try_from(period).ok());
    let published = match period {
        Some(period) if !period.is_zero() => {
            format!("load published every {}", format::span(period))
        }
        _ => "asleep: nothing changes".to_owned(),
    };
    let retries = explained.retry_budget.as_ref().map_or_else(String::new, |budget| {
        format!(
            "; {} retries left ({} of requests and {} a second)",
            format::number(budget.left.floor()),
            format::percent(budget.ratio),
            format::number(budget.per_second),
        )
    });
    format!("plan {}; {published}{retries}", explained.plan)
}

fn write_group(page: &mut Page, group: &v1::PlannedGroup) {
    let draws = match group.share {
        0.0 => "reached only by overflow".to_owned(),
        share => format!("{} of draws", format::percent(share)),
    };
    let choice = match group.choices.min(group.endpoints) {
        0 | 1 => "no choice".to_owned(),
        choices => format!("the best of {choices}"),
    };
    let spill = match group.overflow.as_str() {
        "" => String::new(),
        // However full it is.
        other if group.spill_at >= f64::from(f32::MAX) => {
            format!("; overflows to {other} if nothing of it may be picked")
        }
        other => format!(
            "; overflows to {other} from a score of {}, if it is better by {}",
            format::number(group.spill_at),
            format::number(group.spill_margin),
        ),
    };
    let endpoints = format::count(group.endpoints, "endpoint");
    let rest = format!(": {draws}, {endpoints}, {choice}{spill}");
    page.styled(&[(style::HEAD, &group.name), (style::PLAIN, &rest)]);
    if !group.reason.is_empty() {
        page.line(format!("    {}", group.reason));
    }
}

fn endpoints(explained: &v1::ExplainResponse) -> Table {
    let mut table = Table::new([
        ("ADDRESS", Align::Left),
        ("GROUP", Align::Left),
        ("STATE", Align::Left),
        ("DRAWN", Align::Right),
        ("WEIGHT", Align::Right),
        ("SCORE", Align::Right),
        ("EACH", Align::Right),
        ("LIMIT", Align::Right),
    ]);
    for endpoint in &explained.endpoints {
        let limit = match endpoint.limit {
            i32::MAX => String::new(),
            limit => limit.to_string(),
        };
        table.row(vec![
            format::address(&endpoint.address, endpoint.port).into(),
            endpoint.group.as_str().into(),
            Cell::styled(&endpoint.state, style::of_state(&endpoint.state)),
            format::percent(endpoint.draw).into(),
            format::number(endpoint.weight).into(),
            format::number(endpoint.base).into(),
            format!("+{}", format::number(endpoint.slope)).into(),
            limit.into(),
        ]);
        if endpoint.standing > 0 {
            table.note(format!(
                "{} of {} in flight are standing: open for longer than its requests take",
                endpoint.standing, endpoint.in_flight
            ));
        }
        for factor in &endpoint.factors {
            let value = format::number(factor.value);
            table.note(format!("{} x{value}: {}", factor.name, factor.reason));
        }
    }
    table
}

fn write_pick(page: &mut Page, pick: &v1::SampledPick, now: SystemTime) {
    let time =
        pick.time.as_ref().and_then(time).map_or_else(String::new, |at| format::ago(at, now));
    let chosen = match pick.chosen.as_str() {
        "" => (style::BAD, "none"),
        chosen => (style::GOOD, chosen),
    };
    let candidates: Vec<String> = pick
        .candidates
        .iter()
        .map(|candidate| match candidate.eligible {
            true => format!("{} {}", candidate.address, format::number(candidate.score)),
            false => format!("{} closed", candidate.address),
        })
        .collect();
    let overflowed = if pick.overflowed { ", by overflow" } else { "" };
    let of = candidates.join(", ");
    let rest = format!("{overflowed}, of {} ({of})", pick.group);
    page.styled(&[(style::PLAIN, &format!("{time}: ")), chosen, (style::PLAIN, &rest)]);
}

fn policy(settings: &[v1::Setting]) -> Table {
    let mut table =
        Table::new([("SETTING", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)]);
    for setting in settings {
        let looks = if setting.origin == "default" { style::DIM } else { style::PLAIN };
        table.row(vec![
            Cell::styled(&setting.name, looks),
            Cell::styled(&setting.value, looks),
            Cell::styled(&setting.origin, looks),
        ]);
        for overridden in setting.overridden.iter().rev() {
            table.note(format!("overrides {} ({})", overridden.value, overridden.origin));
        }
    }
    table
}

/// The time; `None` before 1970.
pub(super) fn time(stamp: &pbjson_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(stamp.seconds).ok()?;
    let nanos = u32::try_from(stamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained() -> v1::ExplainResponse {
        serde_json::from_value(serde_json::json!({
            "service": "cart.shop:http",
            "plan": "12",
            "notes": ["1 of 2 endpoints is ejected"],
            "period": "0.002s",
            "retryBudget": {"left": 94.6, "ratio": 0.2, "perSecond": 10.0},
            "groups": [
                {"name": "zone a", "share": 1.0, "endpoints": 2, "choices": 2, "overflow": "zone b",
                 "spillAt": 3.0, "spillMargin": 1.0, "reason": "the caller's own zone"},
                {"name": "zone b", "share": 0.0, "endpoints": 1, "choices": 2},
            ],
            "endpoints": [
                {"address": "10.0.0.1", "port": 80, "group": "zone a", "state": "serving",
                 "weight": 1.0, "draw": 0.5, "base": 0.25, "slope": 1.0, "limit": 2147483647,
                 "inFlight": 5, "standing": 3},
                {"address": "10.0.0.2", "port": 80, "state": "ejected", "limit": 0, "factors": [
                    {"name": "ejection", "value": 0.0, "reason": "5 of 6 requests failed"}]},
            ],
            "picks": [{"time": "1970-01-01T00:00:10Z", "group": "zone a", "chosen": "10.0.0.1:80",
                "candidates": [
                    {"address": "10.0.0.1:80", "score": 0.25, "eligible": true},
                    {"address": "10.0.0.2:80", "score": 1.0}]}],
            "policy": [
                {"name": "mode", "value": "off", "origin": "annotation pointsman.dev/mode",
                 "overridden": [{"value": "on", "origin": "configuration agent.yaml:3"},
                                {"value": "10%", "origin": "configuration agent.yaml:9"}]},
                {"name": "zone", "value": "prefer", "origin": "default"}],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_unusual_comes_first_and_every_factor_has_its_reason() {
        let mut page = Page::new(true, false);
        write(&mut page, &explained(), SystemTime::UNIX_EPOCH + Duration::from_secs(15));
        let right = "\
cart.shop:http: plan 12; load published every 2.00ms; 94 retries left (20% of requests and 10 a second)
! 1 of 2 endpoints is ejected

GROUPS
zone a: 100% of draws, 2 endpoints, the best of 2; overflows to zone b from a score of 3, if it is better by 1
    the caller's own zone
zone b: reached only by overflow, 1 endpoint, no choice

ENDPOINTS
ADDRESS      GROUP   STATE    DRAWN  WEIGHT  SCORE  EACH  LIMIT
10.0.0.1:80  zone a  serving    50%       1   0.25    +1
    3 of 5 in flight are standing: open for longer than its requests take
10.0.0.2:80          ejected     0%       0      0    +0      0
    ejection x0: 5 of 6 requests failed

LAST PICKS, SAMPLED
5s ago: 10.0.0.1:80, of zone a (10.0.0.1:80 0.25, 10.0.0.2:80 closed)

POLICY
SETTING  VALUE   FROM
mode     off     annotation pointsman.dev/mode
    overrides 10% (configuration agent.yaml:9)
    overrides on (configuration agent.yaml:3)
zone     prefer  default
";
        assert_eq!(page.text(), right);
    }
}
