//! The current problems of a source. If many watches report the same one, it is logged once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::source::{Problem, Status, problem::log_changes};

/// The current problems by finder; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Problems(Arc<Found>);

#[derive(Debug)]
struct Found {
    status: Status,
    source: Arc<str>,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    synced: bool,
    by_finder: BTreeMap<Arc<str>, String>,
    logged: BTreeSet<Problem>,
}

impl Problems {
    /// Without problems; `source`: its name for a person.
    pub(super) fn new(status: Status, source: Arc<str>) -> Self {
        Self(Arc::new(Found { status, source, all: Mutex::default() }))
    }

    /// Records the problem that `finder` found.
    pub(super) fn found(&self, finder: &Arc<str>, what: &str) {
        self.change(|all| {
            all.by_finder.insert(finder.clone(), what.to_owned()).is_none_or(|was| was != what)
        });
    }

    /// Removes the problem of `finder`.
    pub(super) fn mended(&self, finder: &str) {
        self.change(|all| all.by_finder.remove(finder).is_some());
    }

    /// A scope: when it is dropped, the problems of the finders of `of` are removed.
    pub(super) fn of(&self, of: impl Into<String>) -> ProblemScope {
        ProblemScope { problems: self.clone(), of: of.into() }
    }

    fn ended(&self, of: &str) {
        let of = format!(" of {of}");
        self.change(|all| {
            let before = all.by_finder.len();
            all.by_finder.retain(|finder, _| !finder.ends_with(&of));
            all.by_finder.len() != before
        });
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> Vec<Problem> {
        self.0.status.problems()
    }

    /// The source has told all it knew at its start.
    pub(super) fn synced(&self) {
        self.change(|all| !std::mem::replace(&mut all.synced, true));
    }

    fn change(&self, change: impl FnOnce(&mut All) -> bool) {
        let Found { status, source, all } = &*self.0;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut all) {
            return;
        }
        let now: BTreeSet<Problem> =
            all.by_finder.values().map(|what| Problem::of_file(source, what)).collect();
        status.read(all.synced, now.iter().cloned().collect());
        all.logged = log_changes(std::mem::take(&mut all.logged), now);
    }
}

/// Removes problems when it is dropped.
pub(super) struct ProblemScope {
    problems: Problems,
    of: String,
}

impl Drop for ProblemScope {
    fn drop(&mut self) {
        self.problems.ended(&self.of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_watches_find_is_one_problem_until_the_last_finds_it_no_more() {
        let status = Status::default();
        let problems = Problems::new(status.clone(), "kubernetes".into());
        let finders: [Arc<str>; 2] = ["a".into(), "b".into()];
        finders.iter().for_each(|finder| problems.found(finder, "the API server is away"));
        let shown: Vec<_> = status.problems().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["kubernetes: the API server is away"]);
        problems.mended("a");
        assert_eq!(status.problems().len(), 1);
        problems.mended("b");
        assert!(status.problems().is_empty());
        assert!(!status.synced());
        problems.synced();
        assert!(status.synced());
    }
}
