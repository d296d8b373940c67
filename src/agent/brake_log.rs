//! Logs each service at which the brake takes hold, and again when it ends.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{info, warn};

use super::fair_queue::{FairQueue, LineBudget};
use crate::{
    catalog::{Catalog, ServiceName, brake},
    clock,
};

/// A source that empties many services does it within this time.
const COALESCE: Duration = Duration::from_millis(500);

/// Never returns. `braked`: services at which the brake takes hold.
pub(super) async fn run(catalog: Arc<Catalog>, mut braked: UnboundedReceiver<ServiceName>) {
    let mut changes = catalog.changes();
    let (mut log, mut budget) = (BrakeLog::default(), LineBudget::default());
    loop {
        let turn = tokio::time::sleep(budget.until_refill(clock::now()));
        tokio::select! {
            // The sender lives in the catalog.
            name = braked.recv() => match name {
                Some(name) => drop(log.new.insert(name)),
                None => return,
            },
            it = changes.changed(), if !log.held.is_empty() => if it.is_err() { return },
            () = turn, if log.waits => {}
        }
        tokio::time::sleep(COALESCE).await;
        changes.mark_unchanged();
        while let Ok(name) = braked.try_recv() {
            log.new.insert(name);
        }
        let left = budget.left(clock::now());
        let note = |name: &ServiceName| {
            catalog.get(name).and_then(|it| brake::note(&it).map(str::to_owned))
        };
        budget.wrote(log.write_lines(left, note));
    }
}

/// Services at which the brake took hold.
#[derive(Debug, Default)]
struct BrakeLog {
    /// Not logged yet.
    new: BTreeSet<ServiceName>,
    /// Services whose endpoints the brake may still hold, and whether the service had its own line.
    held: HashMap<ServiceName, bool>,
    /// Some lines wait until the budget allows them.
    waits: bool,
    /// The namespace that had the last turn.
    last: Arc<str>,
}

impl BrakeLog {
    /// Logs at most `most` services one by one, and the number of the others. `note`: what the brake holds
    /// of a service, if anything. Returns the number of lines.
    fn write_lines(&mut self, most: usize, note: impl Fn(&ServiceName) -> Option<String>) -> usize {
        let over: Vec<ServiceName> =
            self.held.keys().filter(|name| note(name).is_none()).cloned().collect();
        self.waits = most == 0 && !(self.new.is_empty() && over.is_empty());
        if most == 0 {
            return 0;
        }
        let mut lines = 0;
        let new = std::mem::take(&mut self.new);
        let all = new.len();
        let queue = FairQueue::new(new.iter().map(|name| (name.clone(), name.clone())));
        self.held.extend(new.into_iter().map(|name| (name, false)));
        for name in queue.take(most, &mut self.last) {
            lines += 1;
            match note(&name) {
                Some(note) => {
                    warn!(service = %name, "{note}");
                    self.held.insert(name, true);
                }
                None => {
                    warn!(
                        service = %name,
                        "brake: it held endpoints for a moment, and holds none now"
                    );
                    self.held.remove(&name);
                }
            }
        }
        if all > lines {
            let more = all - lines;
            warn!("brake: {more} more services lost most of their endpoints at once");
        }
        let mut uncounted = 0;
        for name in over {
            match self.held.remove(&name) {
                Some(true) if lines < most => {
                    lines += 1;
                    info!(service = %name, "the brake holds no endpoint of it any more");
                }
                _ => uncounted += 1,
            }
        }
        if uncounted > 0 {
            info!("the brake holds no endpoint of {uncounted} more services any more");
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> ServiceName {
        format!("a{number:02}.shop").parse().unwrap()
    }

    #[test]
    fn each_is_told_where_there_is_room_and_the_others_are_counted() {
        let mut log = BrakeLog { new: (0..30).map(name).collect(), ..BrakeLog::default() };
        let holds = |_: &ServiceName| Some("brake: 2 of 2 endpoints went".to_owned());
        assert_eq!(log.write_lines(0, holds), 0);
        assert!(log.waits, "for room");
        assert_eq!(log.write_lines(20, holds), 20);
        assert!(!log.waits);
        assert_eq!((log.held.len(), log.new.len()), (30, 0));
        assert_eq!(log.held.values().filter(|told| **told).count(), 20);
        assert_eq!(log.write_lines(20, holds), 0, "nothing new");
        assert_eq!(log.write_lines(0, |_| None), 0);
        assert!(log.waits);
        assert_eq!(log.write_lines(20, |_| None), 20, "those that were told of by name");
        assert!(log.held.is_empty());
    }

    #[test]
    fn a_brake_that_is_over_at_once_is_told_once() {
        let mut log = BrakeLog { new: BTreeSet::from([name(1)]), ..BrakeLog::default() };
        assert_eq!(log.write_lines(20, |_| None), 1);
        assert_eq!(log.write_lines(20, |_| None), 0);
    }
}
