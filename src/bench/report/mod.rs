//! The results of a bench: rows with floors, ratios and goals.

use std::io::{self, Write};

mod goal;
mod print;
mod row;

pub use goal::Goal;
pub use row::Row;

/// How to print a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// One array of {name, value, unit, floor, ratio, goal, met}.
    Json,
}

/// Rows that belong together.
#[derive(Clone, Debug)]
pub struct Section {
    /// The title.
    pub title: String,
    /// The figures.
    pub rows: Vec<Row>,
    /// Notes that a reader needs to judge them.
    pub notes: Vec<String>,
}

/// All results of a bench.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of printing.
    pub sections: Vec<Section>,
}

impl Report {
    /// Adds rows that belong together.
    pub fn section(&mut self, title: impl Into<String>, rows: Vec<Row>) -> &mut Section {
        self.sections.push(Section { title: title.into(), rows, notes: Vec::new() });
        self.sections.last_mut().expect("it was pushed just now")
    }

    /// The same figures without judged goals: a smoke run is too short to judge.
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
    /// Standard output is closed.
    pub fn print(&self, output: Output) -> io::Result<()> {
        let mut to = io::stdout().lock();
        match output {
            // This run was a helper process of another one.
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
