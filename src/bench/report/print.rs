//! Prints a report for people.

use std::fmt;

use super::{Report, Row, Section};
use crate::terminal::{Align, Page, Table};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            section.fmt(f)?;
        }
        let judged = self.rows().filter(|row| row.met.is_some()).count();
        match (judged, self.missed()) {
            (0, _) => writeln!(f, "No goal was judged."),
            (judged, 0) => writeln!(f, "All {judged} goals met."),
            (judged, missed) => {
                writeln!(f, "{missed} of {judged} goals missed:")?;
                self.sections.iter().try_for_each(|section| section.say_missed(f))
            }
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let grid = self.rows.iter().all(|row| row.cell.is_some());
        let mut page = Page::new(true, false);
        if grid { self.as_grid() } else { self.as_list() }.write(&mut page);
        f.write_str(page.text())?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(f)
    }
}

impl Section {
    fn say_missed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows.iter().filter(|row| row.met == Some(false)) {
            let goal = row.goal.map(|goal| goal.to_string()).unwrap_or_default();
            let (value, ratio) = (number(row.value), number(row.ratio));
            writeln!(
                f,
                "  {}: {}: value {value}, ratio {ratio}, wanted {goal}",
                self.title, row.name
            )?;
        }
        Ok(())
    }

    fn as_list(&self) -> Table {
        let mut table = Table::new([
            ("", Align::Left),
            ("value", Align::Right),
            ("unit", Align::Left),
            ("floor", Align::Right),
            ("ratio", Align::Right),
            ("+-", Align::Right),
            ("goal", Align::Left),
            ("", Align::Left),
        ]);
        for row in &self.rows {
            table.row(vec![
                row.name.as_str().into(),
                number(row.value).into(),
                row.unit.into(),
                number(row.floor).into(),
                number(row.ratio).into(),
                number(row.error).into(),
                row.goal.map(|goal| goal.to_string()).unwrap_or_default().into(),
                row.met.map_or("", |met| if met { "met" } else { "MISSED" }).into(),
            ]);
        }
        table
    }

    /// Lines and columns have the order of their first rows.
    fn as_grid(&self) -> Table {
        let mut lines: Vec<&str> = Vec::new();
        let mut columns: Vec<&str> = Vec::new();
        for (line, column) in self.rows.iter().filter_map(|row| row.cell.as_ref()) {
            if !lines.contains(&line.as_str()) {
                lines.push(line);
            }
            if !columns.contains(&column.as_str()) {
                columns.push(column);
            }
        }
        let heads = columns.iter().map(|column| (*column, Align::Right));
        let mut table = Table::new([("", Align::Left)].into_iter().chain(heads));
        for line in &lines {
            let cells = columns.iter().map(|column| {
                let here =
                    |row: &&Row| row.cell.as_ref().is_some_and(|(l, c)| l == line && c == column);
                self.rows.iter().find(here).map(in_a_cell).unwrap_or_default().into()
            });
            table.row([(*line).into()].into_iter().chain(cells).collect());
        }
        table
    }
}

fn in_a_cell(row: &Row) -> String {
    let missed = if row.met == Some(false) { " MISSED" } else { "" };
    format!("{}{missed}", number(row.ratio.or(row.value)))
}

/// Three significant digits. More would be noise.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return String::new() };
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 0.1 => 4,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::super::{Goal, Report, Row};

    #[test]
    fn a_missed_goal_is_named_with_its_section() {
        let mut report = Report::default();
        report.section("x", vec![Row::value("a", 1.0, "").goal(Goal::value_at_most(1.0))]);
        report.section("y", vec![Row::value("a", 2.0, "").goal(Goal::value_at_most(1.0))]);
        let printed = report.to_string();
        assert!(printed.contains("1 of 2 goals missed:\n  y: a: value 2.00, "), "{printed}");
    }

    #[test]
    fn rows_are_printed_in_columns_and_empty_columns_are_not() {
        let mut report = Report::default();
        let rows = [
            Row::value("p99", 54.0, "ms").over(50.0).goal(Goal::ratio_at_most(1.25)),
            Row::value("idle", 3.0, "wake-ups/s"),
        ];
        report.section("x", rows.to_vec());
        let right = "x\n      value  unit        floor  ratio  goal\n\
                     p99    54.0  ms           50.0   1.08  ratio <= 1.25  met\n\
                     idle   3.00  wake-ups/s\n\n";
        assert!(report.to_string().starts_with(right), "{report}");
    }

    #[test]
    fn rows_with_cells_are_printed_as_a_grid() {
        let mut report = Report::default();
        let rows = [("1 x 1", "50%", 1.01), ("1 x 1", "85%", 1.12), ("3 x 4", "85%", 1.3)].map(
            |(line, column, ratio)| {
                Row::value(format!("{line} {column}"), ratio, "")
                    .over(1.0)
                    .goal(Goal::ratio_at_most(1.15))
                    .at(line, column)
            },
        );
        report.section("zones", rows.to_vec());
        let printed = report.to_string();
        let lines: Vec<Vec<&str>> =
            printed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["50%", "85%"]);
        assert_eq!(lines[2], ["1", "x", "1", "1.01", "1.12"]);
        assert_eq!(lines[3], ["3", "x", "4", "1.30", "MISSED"], "nothing at 50%");
    }
}
