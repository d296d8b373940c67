//! Tells each wrong setting of a service once: as a line of the log, and where it is asked for as an
//! Event on the Service.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    catalog::{Catalog, ServiceName},
    policy::problems,
    publish::Tables,
    source::kubernetes::events::Events,
};

/// What changes within this time is looked at together: a file with a hundred wrong entries, or the
/// first list of a cluster, is told at once.
const COALESCE: Duration = Duration::from_millis(500);
/// Lines at a time: whoever may write annotations must not be able to fill the log of every node.
const LINES: usize = 20;

/// Tells them from now on, for ever.
pub(super) async fn tell(catalog: Arc<Catalog>, tables: Tables, events: Option<Events>) {
    let changed: Arc<Mutex<HashSet<ServiceName>>> = Arc::default();
    let (seen, mut changes) = (changed.clone(), catalog.changes());
    catalog.on_change(Box::new(move |name| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
    }));
    // Those of the agent before, which were there already.
    changed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(catalog.list(None).iter().map(|service| service.name.clone()));
    changes.mark_changed();
    let mut told = Told::default();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(COALESCE).await;
        changes.mark_unchanged();
        let names = std::mem::take(&mut *changed.lock().unwrap_or_else(PoisonError::into_inner));
        let found = names.into_iter().map(|name| {
            let service = catalog.get(&name);
            let policies = tables.policies();
            (name, service.map_or_else(Vec::new, |service| problems(&policies, &service).texts()))
        });
        let news = told.take_in(found);
        for (name, problem) in news.wrong.iter().take(LINES) {
            warn!(service = %name, "wrong setting: {problem}");
        }
        if let Some(more) = news.wrong.len().checked_sub(LINES).filter(|more| *more > 0) {
            warn!("{more} more wrong settings: `pointsman check` lists them");
        }
        for name in news.mended.iter().take(LINES) {
            info!(service = %name, "its settings are all understood now");
        }
        if let Some(events) = &events {
            news.wrong.iter().take(LINES).for_each(|(name, problem)| events.warn(name, problem));
        }
    }
}

/// What was told of each service of which something is wrong.
#[derive(Default)]
struct Told(HashMap<ServiceName, Vec<String>>);

/// What was not told yet.
#[derive(Debug, Default, PartialEq)]
struct News {
    wrong: Vec<(ServiceName, String)>,
    mended: Vec<ServiceName>,
}

impl Told {
    fn take_in(&mut self, found: impl Iterator<Item = (ServiceName, Vec<String>)>) -> News {
        let mut news = News::default();
        for (name, problems) in found {
            let before = self.0.remove(&name).unwrap_or_default();
            let new = problems.iter().filter(|problem| !before.contains(problem));
            news.wrong.extend(new.map(|problem| (name.clone(), problem.clone())));
            match problems.is_empty() {
                true if before.is_empty() => {}
                true => news.mended.push(name),
                false => drop(self.0.insert(name, problems)),
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_told_once_and_again_after_it_was_mended() {
        let name: ServiceName = "cart.shop".parse().unwrap();
        let mut told = Told::default();
        let mut take_in = |problems: &[&str]| {
            let problems = problems.iter().map(|it| it.to_string()).collect();
            told.take_in([(name.clone(), problems)].into_iter())
        };
        let wrong = |problem: &str| vec![(name.clone(), problem.to_owned())];
        assert_eq!(take_in(&["mode"]).wrong, wrong("mode"));
        assert_eq!(take_in(&["mode"]), News::default());
        assert_eq!(take_in(&["mode", "zone"]).wrong, wrong("zone"));
        assert_eq!(take_in(&[]), News { wrong: vec![], mended: vec![name.clone()] });
        assert_eq!(take_in(&[]), News::default());
        assert_eq!(take_in(&["mode"]).wrong, wrong("mode"));
    }
}
