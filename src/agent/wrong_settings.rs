//! Logs each wrong setting of a service once. With `--events` it also writes an Event on the Service.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use super::fair_queue::{FairQueue, LineBudget};
use crate::{
    catalog::{Catalog, ServiceName},
    clock,
    policy::{Problems, problems},
    publish::Tables,
    source::kubernetes::events::Events,
};

/// Changes within this time are handled together: a file with a hundred wrong entries, or the first list
/// of a cluster.
const COALESCE: Duration = Duration::from_millis(500);

/// Never returns.
pub(super) async fn run(catalog: Arc<Catalog>, tables: Tables, events: Option<Events>) {
    let changed: Arc<Mutex<HashSet<ServiceName>>> = Arc::default();
    let (seen, mut changes) = (changed.clone(), catalog.changes());
    catalog.on_change(Box::new(move |names| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(names.iter().cloned());
    }));
    let mut configured = tables.configured();
    // The policies were set before this task started.
    configured.mark_changed();
    let (mut log, mut budget, mut waiting) = (ProblemLog::default(), LineBudget::default(), 0);
    loop {
        let turn = tokio::time::sleep(budget.until_refill(clock::now()));
        tokio::select! {
            it = changes.changed() => if it.is_err() { return } else { tokio::time::sleep(COALESCE).await },
            it = configured.changed() => if it.is_err() { return } else {
                let all = catalog.list(None);
                let mut changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
                changed.extend(all.iter().map(|service| service.name.clone()));
            },
            () = turn, if log.has_waiting() => {}
        }
        changes.mark_unchanged();
        let names = std::mem::take(&mut *changed.lock().unwrap_or_else(PoisonError::into_inner));
        let policies = tables.policies();
        for service in names.iter().filter_map(|name| catalog.get(name)) {
            log.update(&service.name, &problems(&policies, &service));
        }
        // An on-demand source may have a service that is not loaded now.
        log.retain(|name| catalog.get(name).is_some() || catalog.source_of(name).is_some());
        let left = budget.left(clock::now());
        if left == 0 {
            continue;
        }
        let lines = log.next_lines(left);
        budget.wrote(lines.len());
        for (name, line) in &lines {
            match line {
                Line::Wrong(problem) => warn!(service = %name, "wrong setting: {problem}"),
                Line::Mended => info!(service = %name, "all its settings are valid now"),
            }
        }
        let before = std::mem::replace(&mut waiting, log.waiting());
        if waiting > before {
            warn!(
                "wrong settings that are not logged yet: {waiting}; `pointsman check` lists them"
            );
        }
        let wrong = lines.iter().filter_map(|(name, line)| match line {
            Line::Wrong(problem) => Some((name, problem)),
            Line::Mended => None,
        });
        if let Some(events) = &events {
            for (name, problem) in wrong {
                catalog.get(name).iter().for_each(|service| events.warn(service, problem));
            }
        }
    }
}

/// The wrong settings of services, and which of them are logged.
#[derive(Default)]
struct ProblemLog {
    services: HashMap<ServiceName, ServiceProblems>,
    /// The namespace that had the last turn.
    last: Arc<str>,
    /// The number of services so far.
    seen: u64,
}

#[derive(Default)]
struct ServiceProblems {
    wrong: Vec<Problem>,
    /// All settings are right again, which is not logged yet.
    mended: bool,
    /// Lines that were logged of it.
    logged: usize,
    /// The order in which services became wrong. Without it a service that turns wrong and right without
    /// end would always come first.
    since: u64,
}

struct Problem {
    text: String,
    /// Identifies the problem after a change of the text, such as its line.
    key: String,
    /// The number of settings that it is about.
    settings: usize,
    logged: bool,
}

#[derive(Debug, PartialEq)]
enum Line {
    Wrong(String),
    Mended,
}

impl ProblemLog {
    /// Updates the problems of a service.
    fn update(&mut self, name: &ServiceName, problems: &Problems) {
        if problems.count() == 0 && !self.services.contains_key(name) {
            return;
        }
        let of = self.services.entry(name.clone()).or_default();
        if of.since == 0 {
            self.seen += 1;
            of.since = self.seen;
        }
        let before = std::mem::take(&mut of.wrong);
        let logged = |key: &str| before.iter().any(|wrong| wrong.logged && wrong.key == key);
        let each = problems.told.iter().map(|problem| Problem {
            text: problem.text.clone(),
            key: problem.anywhere.clone(),
            settings: 1,
            logged: logged(&problem.anywhere),
        });
        // One line for all others, whatever their number.
        let others = problems.others().map(|text| Problem {
            text,
            key: String::new(),
            settings: problems.more,
            logged: logged(""),
        });
        of.wrong = each.chain(others).collect();
        of.mended = of.wrong.is_empty() && (of.mended || before.iter().any(|wrong| wrong.logged));
        if of.wrong.is_empty() && !of.mended {
            self.services.remove(name);
        }
    }

    /// Forgets services that are gone: no line says that they are mended.
    fn retain(&mut self, known: impl Fn(&ServiceName) -> bool) {
        self.services.retain(|name, _| known(name));
    }

    /// Takes the next lines, which then count as logged. Each service's first line comes before any second
    /// one.
    fn next_lines(&mut self, most: usize) -> Vec<(ServiceName, Line)> {
        let mut waiting: Vec<_> = self
            .services
            .iter()
            .flat_map(|(name, of)| {
                let wrong = of.wrong.iter().enumerate().filter(|(_, wrong)| !wrong.logged);
                let wrong = wrong.map(|(index, _)| Some(index)).chain(of.mended.then_some(None));
                wrong
                    .enumerate()
                    .map(|(nth, line)| ((of.logged + nth, of.since), name.clone(), line))
            })
            .collect();
        waiting.sort_by_key(|(rank, ..)| *rank);
        let waiting = waiting.into_iter().map(|(_, name, line)| (name.clone(), (name, line)));
        let due = FairQueue::new(waiting).take(most, &mut self.last);
        due.into_iter()
            .filter_map(|(name, line)| Some((name.clone(), self.mark_logged(&name, line)?)))
            .collect()
    }

    fn mark_logged(&mut self, name: &ServiceName, line: Option<usize>) -> Option<Line> {
        let Some(index) = line else {
            self.services.remove(name);
            return Some(Line::Mended);
        };
        let of = self.services.get_mut(name)?;
        of.logged += 1;
        let wrong = of.wrong.get_mut(index)?;
        wrong.logged = true;
        Some(Line::Wrong(wrong.text.clone()))
    }

    fn has_waiting(&self) -> bool {
        self.services.values().any(|of| of.mended || of.wrong.iter().any(|wrong| !wrong.logged))
    }

    /// The number of wrong settings that are not logged yet.
    fn waiting(&self) -> usize {
        let wrong = self.services.values().flat_map(|of| &of.wrong);
        wrong.filter(|wrong| !wrong.logged).map(|wrong| wrong.settings).sum()
    }
}

#[cfg(test)]
mod tests;
