//! Shows the running demo. On a terminal it redraws in place; anywhere else it prints a line per second.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::Style;

use super::{
    scenario::{AT_START, Arm, BACK_ENDS, Change},
    tally::{ArmTally, Tally},
};
use crate::terminal::{
    page::colour_is_wanted,
    style::{BAD, DIM, GOOD, HEAD},
};

/// The widths of the first column and of an arm's: 79 in total, for a terminal of 80.
const LABEL: usize = 19;
const COLUMN: usize = 20;

/// The longest bar of requests in flight, in cells.
const BAR: usize = 12;

/// The last change of each back-end, by number.
type Notes = [&'static str; BACK_ENDS.len()];

/// Where the run is shown.
pub(crate) struct Progress {
    terminal: bool,
    color: bool,
    /// How many lines were drawn last time, to draw over them.
    drawn: usize,
    notes: Notes,
    present: Vec<usize>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let color = terminal && colour_is_wanted();
        Self {
            terminal,
            color,
            drawn: 0,
            notes: Notes::default(),
            present: (0..AT_START).collect(),
        }
    }

    pub(crate) fn change(&mut self, at: Duration, change: Change) -> io::Result<()> {
        let (it, note) = match change {
            Change::Slow(it) => (it, "slow"),
            Change::Fail(it) => (it, "failing"),
            Change::Add(it) => (it, "added"),
            Change::Remove(it) => (it, "removed"),
        };
        self.notes[it] = note;
        if !self.present.contains(&it) {
            self.present.push(it);
        }
        if self.terminal {
            return Ok(());
        }
        writeln!(io::stdout(), "{:4.0} s  * {}", at.as_secs_f64(), change.describe())
    }

    /// Shows the last second.
    pub(crate) fn show_second(
        &mut self,
        at: Duration,
        of: Duration,
        tally: &Tally,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            if self.drawn == 0 {
                self.drawn = 1;
                out.write_all(titles().as_bytes())?;
            }
            return writeln!(out, "{}", line(at, tally));
        }
        let frame = self.frame(at, of, tally);
        // Disables line wrapping: a narrow terminal then cuts lines off, and their number stays right.
        let mut text = String::from("\x1b[?7l");
        if self.drawn > 0 {
            _ = write!(text, "\x1b[{}A", self.drawn);
        }
        for line in frame.lines() {
            // Clears the rest of a longer line.
            _ = writeln!(text, "{line}\x1b[K");
        }
        text.push_str("\x1b[?7h");
        self.drawn = frame.lines().count();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn frame(&self, at: Duration, of: Duration, tally: &Tally) -> String {
        let mut text = String::new();
        let time = format!("{:.0} s of {:.0}", at.as_secs_f64(), of.as_secs_f64());
        _ = write!(text, "{}", self.paint(DIM, &format!("{time:LABEL$}")));
        for arm in Arm::ALL {
            _ = write!(text, "{}", self.paint(HEAD, &format!("{:COLUMN$}", arm.title())));
        }
        _ = writeln!(text);
        for &it in &self.present {
            let note = self.notes[it];
            let style = if note == "slow" || note == "failing" { BAD } else { DIM };
            let note = format!("{note:width$}", width = LABEL - 9);
            let name = format!("{:3}{:.2}x ", BACK_ENDS[it].name, BACK_ENDS[it].speed);
            _ = write!(text, "{name}{}", self.paint(style, &note));
            for arm in &tally.second {
                let in_flight = arm.in_flight.back_ends.get(it).map_or(0, |site| site.in_flight);
                let cells = (in_flight as usize).min(BAR);
                let more = if in_flight as usize > BAR { '+' } else { ' ' };
                let style = if cells == BAR { BAD } else { GOOD };
                let bar = format!("{:BAR$}{more}", "█".repeat(cells));
                let number = format!("{in_flight:<width$}", width = COLUMN - BAR - 1);
                _ = write!(text, "{}{number}", self.paint(style, &bar));
            }
            _ = writeln!(text);
        }
        for (name, cell) in ROWS {
            _ = write!(text, "{name:LABEL$}");
            for arm in &tally.second {
                _ = write!(text, "{:COLUMN$}", cell(arm));
            }
            _ = writeln!(text);
        }
        text
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A row under the back-ends: its name, and its cell for an arm.
type Row = (&'static str, fn(&ArmTally) -> String);

const ROWS: [Row; 4] = [
    ("requests, errors", |arm| format!("{}, {}", arm.requests, arm.errors())),
    ("p50, p99", |arm| format!("{}, {}", ms(arm.quantile(0.5)), ms(arm.quantile(0.99)))),
    ("max/mean in flight", |arm| format!("{:.2}", arm.in_flight.max_over_mean)),
    ("to another zone", |arm| format!("{:.0}%", arm.cross_zone() * 100.0)),
];

fn titles() -> String {
    let mut titles = String::from("      ");
    for arm in Arm::ALL {
        _ = write!(titles, "  {:26}", format!("{}:", arm.title()));
    }
    titles.push_str("\n      ");
    for _ in Arm::ALL {
        _ = write!(titles, "  {:>8}{:>8}{:>10}", "p99", "errors", "max/mean");
    }
    titles + "\n"
}

fn line(at: Duration, tally: &Tally) -> String {
    let mut line = format!("{:4.0} s", at.as_secs_f64());
    for arm in &tally.second {
        let (p99, errors) = (ms(arm.quantile(0.99)), arm.errors());
        _ = write!(line, "  {p99:>8}{errors:>8}{:>10.2}", arm.in_flight.max_over_mean);
    }
    line
}

/// Milliseconds, with a fraction for short times.
pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_same_width_in_every_row_and_fits_a_small_terminal() {
        let mut progress = Progress {
            terminal: true,
            color: false,
            drawn: 0,
            notes: Notes::default(),
            present: (0..BACK_ENDS.len()).collect(),
        };
        progress.change(Duration::ZERO, Change::Fail(1)).unwrap();
        let frame = progress.frame(Duration::ZERO, Duration::from_secs(30), &Tally::new());
        assert!(frame.lines().count() < 24, "{frame}");
        for line in frame.lines() {
            assert_eq!(line.chars().count(), LABEL + 3 * COLUMN, "{line}");
        }
    }
}
