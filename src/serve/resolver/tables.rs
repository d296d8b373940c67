//! Limits the number of tables.
//!
//! Callers choose the services and labels of their picks, so the number of tables needs a bound: each
//! has shared memory, and every publication updates it. A table that was not used for a while is
//! closed when another one is needed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    identity::Identity,
    publish::{ServiceTable, Tables, Target},
    quota::{Exhausted, Permit, Quota},
    serve::Error,
};

/// The most tables. Measured: a table of a few endpoints takes 26 KiB, so that all take 78 MiB of the
/// DaemonSet's 256.
pub(super) const MOST: usize = 3 << 10;
/// A table counts once more for each so many endpoints: they take about as much as a small table.
const ENDPOINTS_OF_ONE: usize = 64;
/// The most that one table counts, so that a caller with a small share can have a table of any size.
const MOST_OF_ONE: usize = 8;
/// The most tables for label selectors. A node's programs use a handful, each for its own shard.
const MOST_SUBSETS: usize = 1024;
/// A table that was unused for so long is closed when another one is needed.
const UNUSED: Duration = Duration::from_secs(60);
/// The least time between two searches for unused tables: a caller that is refused may ask on and on.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct CallersTables {
    tables: Tables,
    all: Arc<Quota<Identity>>,
    subsets: Arc<Quota<Identity>>,
    uses: Mutex<Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    by_target: HashMap<Target, TableUse>,
    /// When unused tables were last looked for.
    looked: Option<Duration>,
    /// When the name cache was last cleared. Each use since then has come here, so that it is known
    /// which tables are in use.
    forgot: Option<Duration>,
}

#[derive(Debug)]
struct TableUse {
    last: Duration,
    _permits: Vec<Permit<Identity>>,
}

impl CallersTables {
    pub(super) fn new(tables: Tables, most: usize) -> Self {
        let all = Quota::new("tables", most);
        let subsets = Quota::new("tables for labels", MOST_SUBSETS);
        Self { tables, all, subsets, uses: Mutex::default() }
    }

    /// The table of a target; `None` if the catalog has no such port. `forget` clears the name cache, so
    /// that each use comes here again.
    pub(super) fn open(
        &self,
        identity: Identity,
        target: &Target,
        now: Duration,
        forget: impl Fn(),
    ) -> Result<Option<Arc<ServiceTable>>, Error> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = uses.by_target.get_mut(target) {
            known.last = now;
            return self.tables.open(target).map_err(Error::NoTable);
        }
        let permits = self.permits(identity, target).or_else(|exhausted| {
            self.give_up_unused(&mut uses, now, &forget);
            self.permits(identity, target).map_err(|_| exhausted)
        })?;
        let live = self.tables.open(target).map_err(Error::NoTable)?;
        if live.is_some() {
            uses.by_target.insert(target.clone(), TableUse { last: now, _permits: permits });
        }
        Ok(live)
    }

    fn permits(&self, identity: Identity, target: &Target) -> Result<Vec<Permit<Identity>>, Error> {
        let size = 1 + self.tables.endpoints_of(target) / ENDPOINTS_OF_ONE;
        let size = size.min(MOST_OF_ONE);
        let mut permits = vec![self.all.take_some(identity, size).map_err(refusal)?];
        if !target.selector.is_empty() {
            permits.push(self.subsets.take(identity).map_err(refusal)?);
        }
        Ok(permits)
    }

    fn give_up_unused(&self, uses: &mut Uses, now: Duration, forget: &impl Fn()) {
        if uses.looked.is_some_and(|then| now < then + LOOK) {
            return;
        }
        uses.looked = Some(now);
        let before = uses.by_target.len();
        // Tables of deleted services, and tables that were closed for want of file descriptors.
        uses.by_target.retain(|target, _| self.tables.is_open(target));
        if uses.by_target.len() < before {
            return;
        }
        // Tables for labels are not in the name cache, so that each use comes here.
        uses.by_target.retain(|target, of| {
            target.selector.is_empty() || of.last + UNUSED > now || !self.tables.close(target)
        });
        if let Some(since) = uses.forgot {
            if now < since + UNUSED {
                return;
            }
            uses.by_target.retain(|target, of| of.last >= since || !self.tables.close(target));
        }
        uses.forgot = Some(now);
        forget();
    }
}

fn refusal(exhausted: Exhausted) -> Error {
    Error::Exhausted {
        exhausted,
        right: "pick from fewer services, select by fewer different labels, or wait a minute for unused \
                ones to go",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        catalog::{
            Catalog, Change, Locality, SourceId,
            sample::{endpoint, service},
        },
        policy::ConfigPolicies,
        publish::TargetKind,
    };

    const ME: Identity = Identity::Uid(1);
    const SOMEBODY: Identity = Identity::Uid(2);

    fn target(n: usize) -> Target {
        Target {
            service: format!("s{n}.shop").parse().unwrap(),
            port: (None, None),
            selector: crate::catalog::Labels::new(),
            way: TargetKind::Balanced,
        }
    }

    struct Node {
        made: CallersTables,
        catalog: Arc<Catalog>,
        tables: Tables,
        forgot: Cell<u32>,
    }

    impl Node {
        /// With this many tables at most, and with services of one endpoint each, except the last one,
        /// `large`.
        fn new(most: usize, services: usize, large: u8) -> Self {
            let catalog = Arc::new(Catalog::new(["test"]));
            for n in 0..services {
                let endpoints = if n + 1 == services { large } else { 1 };
                let service = service(&format!("s{n}.shop"), (1..=endpoints).map(endpoint));
                catalog.apply(SourceId(0), Change::Upsert(service), Duration::ZERO);
            }
            catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
            let (policies, locality) = (ConfigPolicies::default(), Locality::default());
            let tables = Tables::start(catalog.clone(), policies, locality, 1).unwrap();
            let made = CallersTables::new(tables.clone(), most);
            Self { made, catalog, tables, forgot: Cell::new(0) }
        }

        fn open(
            &self,
            who: Identity,
            n: usize,
            at: u64,
        ) -> Result<Option<Arc<ServiceTable>>, Error> {
            let forget = || self.forgot.set(self.forgot.get() + 1);
            self.made.open(who, &target(n), Duration::from_secs(at), forget)
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            self.tables.stop();
        }
    }

    #[test]
    fn who_picks_from_every_service_there_is_is_refused_before_others_are() {
        let node = Node::new(64, 60, 1);
        for n in 0..48 {
            node.open(ME, n, 0).unwrap().expect("a table");
        }
        let said = node.open(ME, 48, 1).unwrap_err().to_string();
        assert!(said.starts_with("48 tables are held by this caller and 48 of 64"), "{said}");
        assert!(node.open(SOMEBODY, 48, 1).unwrap().is_some());
        assert!(node.open(ME, 48, 1).unwrap().is_some(), "it is there, on another's account");
        assert!(node.open(ME, 0, 1).unwrap().is_some());
    }

    #[test]
    fn a_table_that_nobody_asks_for_goes_where_another_is_wanted_and_one_in_use_stays() {
        let node = Node::new(4, 5, 1);
        for n in 0..3 {
            node.open(ME, n, 0).unwrap();
        }
        assert!(node.open(ME, 3, 100).is_err(), "who uses one may not have had to say so");
        assert_eq!(node.forgot.get(), 1, "so that it does from now on");
        node.open(ME, 0, 110).unwrap();
        assert!(node.open(ME, 3, 159).is_err());
        // A table is unused when it is asleep.
        let asleep = (160..180).find(|at| {
            std::thread::sleep(Duration::from_millis(200));
            node.open(ME, 0, 60 * at).unwrap();
            node.open(ME, 3, 60 * at).is_ok()
        });
        assert!(asleep.is_some());
        let left = node.tables.all();
        let is_left = |n: usize| left.iter().any(|live| live.target() == &target(n));
        assert!(is_left(0), "it is in use");
        assert!(is_left(3) && !(is_left(1) && is_left(2)));
    }

    #[test]
    fn a_service_that_is_no_more_counts_for_nobody() {
        let node = Node::new(4, 5, 1);
        for n in 0..3 {
            node.open(ME, n, 0).unwrap();
        }
        assert!(node.open(ME, 3, 100).is_err());
        node.catalog.apply(SourceId(0), Change::Remove(target(0).service), Duration::ZERO);
        while node.tables.is_open(&target(0)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(node.open(ME, 3, 102).unwrap().is_some());
        assert!(node.tables.is_open(&target(1)) && node.tables.is_open(&target(2)));
    }

    #[test]
    fn a_large_table_counts_as_many_and_whoever_has_little_gets_one_of_any_size() {
        let node = Node::new(8, 2, 200);
        node.open(ME, 1, 0).unwrap().expect("a table");
        assert_eq!(node.made.all.in_use(), 1 + 200 / ENDPOINTS_OF_ONE);
        let tight = Node::new(4, 2, 255);
        assert!(tight.open(ME, 1, 0).is_err(), "a quarter is kept for others");
        assert!(tight.tables.all().is_empty(), "nothing is left behind");
        assert!(tight.open(ME, 0, 0).unwrap().is_some());
        assert_eq!(tight.made.all.in_use(), 1);
        const { assert!(MOST_OF_ONE <= MOST / 4 / 64) };
    }
}
