//! Prints what a run measured: a table for people, JSON for programs.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    bounds::{Bound, bounds},
    progress::ms,
    scenario::{Arm, BACK_ENDS, Change, RunConfig},
    tally::{ArmTally, Tally},
};
use crate::terminal::{Align, Cell, Page, Table};

/// Everything that a run measured.
pub(crate) struct Summary {
    pub(crate) run: RunConfig,
    pub(crate) tally: Tally,
    pub(crate) agents: AgentCost,
    /// The share of this machine's processor time that was used.
    pub(crate) busy: f64,
    /// The number of connections in the arm with one per caller.
    pub(crate) connections: usize,
}

/// What the agents used while the load ran.
pub(crate) struct AgentCost {
    pub(crate) number: usize,
    /// The processor seconds of all agents.
    pub(crate) cpu: f64,
    /// The memory of the largest agent.
    pub(crate) resident_mib: f64,
}

/// If the 99th percentile of late arrivals exceeds this, the machine is too busy, and each p99 is too
/// high.
const LATE: Duration = Duration::from_millis(20);

impl Summary {
    pub(crate) fn met(&self) -> bool {
        bounds(&self.tally).iter().all(Bound::met)
    }

    /// The processor time of the agents for a pick with its report.
    fn cpu_per_pick(&self) -> Duration {
        let picks = self.tally.whole[Arm::Pick as usize].pick.len();
        // The load also ran during the warm-up, which is not counted.
        let counted = 1.0 - self.run.warm_up().as_secs_f64() / self.run.length.as_secs_f64();
        Duration::from_secs_f64(self.agents.cpu * counted / (picks.max(1)) as f64)
    }

    fn late(&self) -> Duration {
        Duration::from_micros(self.tally.late.value_at_quantile(0.99))
    }

    /// The table and what follows it.
    pub(crate) fn text(&self) -> String {
        let mut page = Page::new(true, false);
        self.table().write(&mut page);
        let mut text = page.text().to_owned();
        let pick = &self.tally.whole[Arm::Pick as usize].pick;
        let quantile = |quantile| ms(Duration::from_micros(pick.value_at_quantile(quantile)));
        _ = writeln!(
            text,
            "\nA pick over the socket: p50 {}, p99 {}, with HTTP and JSON on both sides.\n\
             {} agents: {} of processor time for a pick with its report, {:.0} MiB each.\n\
             The processors were {:.0}% busy; arrivals were late by {} at p99.",
            quantile(0.5),
            quantile(0.99),
            self.agents.number,
            ms(self.cpu_per_pick()),
            self.agents.resident_mib,
            self.busy * 100.0,
            ms(self.late()),
        );
        if self.late() > LATE {
            _ = writeln!(text, "That is too busy: every p99 includes waits for a processor.");
        }
        text.push('\n');
        for bound in bounds(&self.tally) {
            let (verdict, sign) = if bound.met() { ("met", "<=") } else { ("MISSED", ">") };
            let Bound { name, unit, value, floor, most, .. } = bound;
            _ = writeln!(
                text,
                "{verdict:6}  {name}: {value:.digits$}{unit} / {floor:.digits$}{unit} of random = {:.2} \
                 {sign} {most}",
                value / floor,
                digits = if unit.is_empty() { 2 } else { 0 },
            );
        }
        text
    }

    fn table(&self) -> Table {
        let titles = Arm::ALL.map(|arm| match arm {
            Arm::Connection => format!("{} ({})", arm.title(), self.connections),
            Arm::Pick | Arm::Random => arm.title().to_owned(),
        });
        let columns = titles.map(|title| (title, Align::Right));
        let mut table =
            Table::new([(String::from("back-end"), Align::Left)].into_iter().chain(columns));
        let mut row = |name: &str, cells: Vec<String>| {
            let cells = cells.into_iter().map(Cell::from);
            table.row([Cell::from(name)].into_iter().chain(cells).collect());
        };
        row("", vec!["requests, in flight".to_owned(); Arm::ALL.len()]);
        for (number, back_end) in BACK_ENDS.iter().enumerate() {
            let name = format!("{} {:.2}x{}", back_end.name, back_end.speed, happened(number));
            let cell = |arm: &ArmTally| {
                let site = arm.in_flight.back_ends.get(number).copied().unwrap_or_default();
                format!("{:6}  {:6.1}", site.requests, site.mean_in_flight)
            };
            row(&name, self.tally.whole.iter().map(cell).collect());
        }
        row("", vec![String::new(); Arm::ALL.len()]);
        for (name, cell) in ROWS {
            row(name, self.tally.whole.iter().map(cell).collect());
        }
        table
    }

    /// Rows with the keys of `bench`: name, value, floor, goal.
    pub(crate) fn json(&self) -> Value {
        let mut rows = Vec::new();
        let mut plain = |name: String, value: f64, unit: &str| {
            rows.push(json!({
                "name": name, "value": value, "unit": unit,
                "floor": null, "ratio": null, "goal": null, "met": null,
            }));
        };
        for (arm, tally) in Arm::ALL.iter().zip(&self.tally.whole) {
            let name = |what: &str| format!("{}: {what}", arm.title());
            let in_ms = |quantile| tally.quantile(quantile).as_secs_f64() * 1e3;
            plain(name("requests"), tally.requests as f64, "");
            plain(name("errors"), tally.errors() as f64, "");
            plain(name("p50"), in_ms(0.5), "ms");
            plain(name("p99"), in_ms(0.99), "ms");
            plain(name("max/mean in flight"), tally.in_flight.max_over_mean, "");
            plain(name("to another zone"), tally.cross_zone(), "");
        }
        let pick = &self.tally.whole[Arm::Pick as usize].pick;
        plain("pick p50".into(), pick.value_at_quantile(0.5) as f64, "us");
        plain("pick p99".into(), pick.value_at_quantile(0.99) as f64, "us");
        plain(
            "agent processor time per pick".into(),
            self.cpu_per_pick().as_secs_f64() * 1e6,
            "us",
        );
        plain("agent resident memory".into(), self.agents.resident_mib, "MiB");
        plain("processors busy".into(), self.busy, "");
        plain("arrivals late, p99".into(), self.late().as_secs_f64() * 1e3, "ms");
        rows.extend(bounds(&self.tally).iter().map(|bound| {
            json!({
                "name": bound.name, "value": bound.value, "unit": bound.unit,
                "floor": bound.floor, "ratio": bound.ratio(),
                "goal": format!("ratio <= {}", bound.most), "met": bound.met(),
            })
        }));
        Value::Array(rows)
    }
}

/// What happened to a back-end during the run, to print after its name.
fn happened(number: usize) -> &'static str {
    let run = RunConfig { length: Duration::from_secs(1), seed: 0 };
    let note = run.changes().into_iter().find_map(|(_, change)| match change {
        Change::Slow(it) if it == number => Some(", turned slow"),
        Change::Fail(it) if it == number => Some(", failing"),
        Change::Add(it) if it == number => Some(", added"),
        Change::Remove(it) if it == number => Some(", removed"),
        _ => None,
    });
    note.unwrap_or_default()
}

/// A row under the back-ends: its name, and its cell for an arm.
type Row = (&'static str, fn(&ArmTally) -> String);

const ROWS: &[Row] = &[
    ("max/mean in flight", |arm| format!("{:.2}", arm.in_flight.max_over_mean)),
    ("p50", |arm| ms(arm.quantile(0.5))),
    ("p99", |arm| ms(arm.quantile(0.99))),
    ("requests", |arm| arm.requests.to_string()),
    ("errors", |arm| arm.errors().to_string()),
    ("  answered 500", |arm| arm.failed.to_string()),
    ("  no answer in 2 s", |arm| arm.expired.to_string()),
    ("  connection cut", |arm| arm.cut.to_string()),
    ("to another zone", |arm| format!("{:.1}%", arm.cross_zone() * 100.0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_a_column_for_each_arm_and_fits_a_terminal() {
        let summary = Summary {
            run: RunConfig { length: Duration::from_secs(30), seed: 0 },
            tally: Tally::new(),
            agents: AgentCost { number: 3, cpu: 0.5, resident_mib: 12.0 },
            busy: 0.4,
            connections: 12,
        };
        let text = summary.text();
        let table: Vec<&str> =
            text.lines().take_while(|line| !line.starts_with("A pick")).collect();
        assert_eq!(table.len(), 2 + BACK_ENDS.len() + 1 + ROWS.len() + 1, "{text}");
        for line in &table {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let (errors, width) = (table[2 + BACK_ENDS.len() + 5], table[0].chars().count());
        assert_eq!(errors.split_whitespace().collect::<Vec<_>>(), ["errors", "0", "0", "0"]);
        assert_eq!(errors.chars().count(), width, "numbers end under their titles: {text}");
    }
}
