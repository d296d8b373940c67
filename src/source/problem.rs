//! A problem in a text that a person wrote: where it is, what is wrong, and what would be valid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    sync::Arc,
};

use crate::printable::Printable;

/// Where in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, by the path that the source was given.
    pub file: Arc<str>,
    /// From 1; None: the file as a whole.
    pub line: Option<u64>,
    /// From 1.
    pub column: Option<u64>,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Path of the field within its document, such as `services[0].endpoints[2].weight`; empty
    /// for the document as a whole.
    pub field: String,
    /// What is wrong, and what would be valid.
    pub what: String,
}

impl Problem {
    /// A problem of a file as a whole.
    pub fn of_file(file: &Arc<str>, what: impl ToString) -> Self {
        let place = Place { file: file.clone(), line: None, column: None };
        Self { place, field: String::new(), what: what.to_string() }
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Printable(f);
        write!(f, "{}: ", self.place)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.what)
    }
}

/// The most lines to log at a time: a folder of manifests may have thousands of problems.
const LINES: usize = 20;

/// Logs new problems and those that are gone. Returns those that are logged now.
pub(super) fn log_changes(
    logged: BTreeSet<Problem>,
    now: impl IntoIterator<Item = Problem>,
) -> BTreeSet<Problem> {
    let now: BTreeSet<Problem> = now.into_iter().collect();
    let (new, gone) = (beyond(&now, &logged), beyond(&logged, &now));
    for problem in new.iter().take(LINES) {
        tracing::warn!("{problem}");
    }
    if let Some(more @ 1..) = new.len().checked_sub(LINES) {
        tracing::warn!("{more} more problems: the admin page lists them");
    }
    for problem in gone.iter().take(LINES) {
        tracing::info!("no longer: {problem}");
    }
    if let Some(more @ 1..) = gone.len().checked_sub(LINES) {
        tracing::info!("no longer: {more} more problems");
    }
    now
}

/// Those of `these` that are not among `others`, regardless of their lines: a line above moves all
/// places of a file.
fn beyond<'p>(these: &'p BTreeSet<Problem>, others: &BTreeSet<Problem>) -> Vec<&'p Problem> {
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for other in others {
        *known.entry(anywhere(other)).or_default() += 1;
    }
    // If nothing moved, it is clear which of several equal problems is new.
    let (same, moved): (Vec<_>, Vec<_>) = these.iter().partition(|it| others.contains(it));
    let all = same.into_iter().chain(moved);
    let new = all.filter(|problem| match known.get_mut(&anywhere(problem)) {
        Some(left @ 1..) => {
            *left -= 1;
            false
        }
        _ => true,
    });
    new.collect()
}

/// A problem without its line, column, and number in a list.
fn anywhere(problem: &Problem) -> (&str, String, String) {
    let what = match problem.what.contains(" is already in ") {
        true => unplaced(&problem.what),
        false => problem.what.clone(),
    };
    (&problem.place.file, unplaced(&problem.field), what)
}

/// `a.yaml:12:3` as `a.yaml::`, and `services[2]` as `services[]`.
fn unplaced(text: &str) -> String {
    let mut before = ' ';
    let mut placeless = String::with_capacity(text.len());
    for c in text.chars() {
        if !(c.is_ascii_digit() && matches!(before, ':' | '[')) {
            before = c;
            placeless.push(c);
        }
    }
    placeless
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u64, field: &str, what: &str) -> Problem {
        let place = Place { file: "a.yaml".into(), line: Some(line), column: Some(3) };
        Problem { place, field: field.into(), what: what.into() }
    }

    #[test]
    fn a_problem_that_moved_within_its_file_is_not_new_and_one_more_that_is_alike_is() {
        let at = |line: u64, item: u64| {
            let twice = format!("service \"a1.shop\" is already in a.yaml:{line}:5, which counts");
            BTreeSet::from([
                problem(line, &format!("items[{item}].ports[0]"), "a port needs a number"),
                problem(
                    line + 2,
                    &format!("items[{}].ports[0]", item + 1),
                    "a port needs a number",
                ),
                problem(line + 4, "", &twice),
            ])
        };
        assert!(beyond(&at(17, 4), &at(3, 2)).is_empty());
        let mut more = at(17, 4);
        more.insert(problem(99, "items[9].ports[0]", "a port needs a number"));
        assert_eq!(beyond(&more, &at(3, 2)).len(), 1);
        let one_more = problem(99, "items[9].ports[0]", "a port needs a number");
        assert_eq!(beyond(&more, &at(17, 4)), [&one_more]);
        let other = BTreeSet::from([problem(1, "", "service \"a2.shop\" is already in a.yaml:1")]);
        assert_eq!(beyond(&other, &at(3, 2)).len(), 1, "that is another service");
    }

    #[test]
    fn a_problem_commands_no_terminal() {
        let problem = problem(1, "labels.\u{1b}[2J", "x\n2030 ERROR");
        assert_eq!(problem.to_string(), r"a.yaml:1:3: labels.\u{1b}[2J: x\n2030 ERROR");
    }
}
