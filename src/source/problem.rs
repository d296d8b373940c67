//! What was wrong in something a person wrote: where, and what would be right.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    sync::Arc,
};

use crate::printable::Printable;

/// Where in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, as the source was told its path.
    pub file: Arc<str>,
    /// From 1; none for the file as a whole.
    pub line: Option<u64>,
    /// From 1.
    pub column: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Path of the field within its document, such as `services[0].endpoints[2].weight`; empty
    /// for the document as a whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub what: String,
}

impl Problem {
    /// Of a file as a whole.
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

/// Logs each problem once, and that it is gone. Returns those that are told by now.
pub(super) fn tell(
    told: BTreeSet<Problem>,
    now: impl IntoIterator<Item = Problem>,
) -> BTreeSet<Problem> {
    let now: BTreeSet<Problem> = now.into_iter().collect();
    for problem in now.difference(&told) {
        tracing::warn!("{problem}");
    }
    for problem in told.difference(&now) {
        tracing::info!("no longer: {problem}");
    }
    now
}
