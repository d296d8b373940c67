//! What a bench found: rows with floors, ratios and goals.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::sim::estimate::Estimate;

mod print;

/// How to print a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One array of {name, value, unit, floor, ratio, goal, met}.
    Json,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    what: Judged,
    how: Bound,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Judged {
    Ratio,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost,
    Below,
    Above,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured, unique within a report.
    pub name: String,
    /// None: could not be measured here (a note says why).
    pub value: Option<f64>,
    /// Of `value` and `floor`.
    pub unit: &'static str,
    /// The bare thing, measured in the same run.
    pub floor: Option<f64>,
    /// `value / floor`, or the mean of it over seeds or turns.
    pub ratio: Option<f64>,
    /// Such as `ratio <= 1.08`.
    #[serde(serialize_with = "goal_as_text")]
    pub goal: Option<Goal>,
    /// None: no goal, or not judged.
    pub met: Option<bool>,
    /// Standard error of what is judged (of the value, where there is no ratio).
    #[serde(skip)]
    pub error: Option<f64>,
    /// Line and column, in a section printed as a grid.
    #[serde(skip)]
    pub cell: Option<(String, String)>,
}

/// Rows that belong together.
#[derive(Clone, Debug)]
pub struct Section {
    /// What they have in common.
    pub title: String,
    /// The figures.
    pub rows: Vec<Row>,
    /// What a reader must know to judge them.
    pub notes: Vec<String>,
}

/// All that a bench found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of printing.
    pub sections: Vec<Section>,
}

// === impl Goal ===

impl Goal {
    /// `ratio <= bound`.
    pub fn ratio_at_most(bound: f64) -> Self {
        Self { what: Judged::Ratio, how: Bound::AtMost, bound }
    }

    /// `ratio < bound`.
    pub fn ratio_below(bound: f64) -> Self {
        Self { what: Judged::Ratio, how: Bound::Below, bound }
    }

    /// `ratio > bound`: for rivals that must fail, lest the bench proves nothing.
    pub fn ratio_above(bound: f64) -> Self {
        Self { what: Judged::Ratio, how: Bound::Above, bound }
    }

    /// `value <= bound`.
    pub fn value_at_most(bound: f64) -> Self {
        Self { what: Judged::Value, how: Bound::AtMost, bound }
    }

    fn met(self, value: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        let judged = match self.what {
            Judged::Ratio => ratio?,
            Judged::Value => value?,
        };
        Some(match self.how {
            Bound::AtMost => judged <= self.bound,
            Bound::Below => judged < self.bound,
            Bound::Above => judged > self.bound,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Judged::Ratio => "ratio",
            Judged::Value => "value",
        };
        let how = match self.how {
            Bound::AtMost => "<=",
            Bound::Below => "<",
            Bound::Above => ">",
        };
        write!(f, "{what} {how} {}", self.bound)
    }
}

fn goal_as_text<S: serde::Serializer>(goal: &Option<Goal>, to: S) -> Result<S::Ok, S::Error> {
    match goal {
        Some(goal) => to.collect_str(goal),
        None => to.serialize_none(),
    }
}

// === impl Row ===

impl Row {
    /// A figure by itself.
    pub fn value(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit,
            floor: None,
            ratio: None,
            goal: None,
            met: None,
            error: None,
            cell: None,
        }
    }

    /// A figure that could not be measured here.
    pub fn unmeasured(name: impl Into<String>, unit: &'static str) -> Self {
        Self { value: None, ..Self::value(name, 0.0, unit) }
    }

    /// Beside the bare thing.
    pub fn over(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self.ratio = self.value.map(|value| value / floor);
        self
    }

    /// The ratio over several seeds or turns, each against its own floor: what both met by chance
    /// cancels.
    pub fn paired(mut self, ratio: Estimate) -> Self {
        self.ratio = Some(ratio.mean);
        self.error = Some(ratio.error);
        self
    }

    /// How sure the value is.
    pub fn give_or_take(mut self, error: f64) -> Self {
        self.error = Some(error);
        self
    }

    /// What it should be.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.met = goal.met(self.value, self.ratio);
        self.goal = Some(goal);
        self
    }

    /// Where it stands in a grid.
    pub fn at(mut self, line: impl Into<String>, column: impl Into<String>) -> Self {
        self.cell = Some((line.into(), column.into()));
        self
    }
}

// === impl Report ===

impl Report {
    /// Adds rows that belong together.
    pub fn section(&mut self, title: impl Into<String>, rows: Vec<Row>) -> &mut Section {
        self.sections.push(Section { title: title.into(), rows, notes: Vec::new() });
        self.sections.last_mut().expect("it was pushed just now")
    }

    /// The same figures, no goal judged: a smoke run is too short for that.
    pub fn unjudged(mut self) -> Self {
        self.sections.iter_mut().flat_map(|s| &mut s.rows).for_each(|row| row.met = None);
        self
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        self.rows().filter(|row| row.met == Some(false)).count()
    }

    /// All figures in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|section| &section.rows)
    }

    /// Prints it on standard output.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub fn print(&self, output: Output) -> io::Result<()> {
        let mut to = io::stdout().lock();
        match output {
            // A run that only does what another one measures.
            _ if self.sections.is_empty() => Ok(()),
            Output::Table => write!(to, "{self}"),
            Output::Json => {
                let rows: Vec<&Row> = self.rows().collect();
                serde_json::to_writer_pretty(&mut to, &rows)?;
                writeln!(to)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_judges_the_ratio_or_the_value_it_names() {
        let row = Row::value("p99", 54.0, "ms").over(50.0);
        assert_eq!(row.clone().goal(Goal::ratio_at_most(1.08)).met, Some(true));
        assert_eq!(row.clone().goal(Goal::ratio_at_most(1.07)).met, Some(false));
        assert_eq!(row.clone().goal(Goal::value_at_most(50.0)).met, Some(false));
        assert_eq!(row.clone().goal(Goal::ratio_above(1.0)).met, Some(true));
        assert_eq!(row.goal(Goal::ratio_below(1.08)).met, Some(false));
        let unknown = Row::unmeasured("instructions", "").goal(Goal::value_at_most(1.0));
        assert_eq!(unknown.met, None, "what was not measured is neither met nor missed");
    }

    #[test]
    fn json_has_the_seven_keys_and_nulls_where_there_is_nothing() {
        let rows = [
            Row::value("p99", 54.0, "ms").over(40.0).goal(Goal::ratio_at_most(1.25)),
            Row::value("idle", 3.0, "wake-ups/s"),
        ];
        assert_eq!(
            serde_json::to_value(&rows).unwrap(),
            serde_json::json!([
                {"name": "p99", "value": 54.0, "unit": "ms", "floor": 40.0, "ratio": 1.35,
                 "goal": "ratio <= 1.25", "met": false},
                {"name": "idle", "value": 3.0, "unit": "wake-ups/s", "floor": null, "ratio": null,
                 "goal": null, "met": null},
            ])
        );
    }

    #[test]
    fn a_missed_goal_counts_until_the_run_is_said_to_be_a_smoke_run() {
        let mut report = Report::default();
        report.section("x", vec![Row::value("a", 2.0, "").goal(Goal::value_at_most(1.0))]);
        assert_eq!(report.missed(), 1);
        assert!(report.to_string().contains("1 of 1 goals missed"), "{report}");
        let report = report.unjudged();
        assert_eq!(report.missed(), 0);
        assert!(report.to_string().contains("No goal was judged"), "{report}");
    }
}
