//! The tables that callers had made.
//!
//! Callers choose which services they ask for and by which labels, so there must be a bound to tables:
//! each has shared memory and a part in every publication. They are given up when nobody has asked
//! for them for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    identity::Identity,
    publish::{Live, Tables, Target},
    quota::{Exhausted, Permit, Quota},
    serve::Error,
};

/// All that there may be. Measured: a table of a few endpoints takes 26 KiB, so that they take 78 MiB
/// of the DaemonSet's 256.
pub(super) const MOST: usize = 3 << 10;
/// So many endpoints take about as much as a table of a few.
const ENDPOINTS_OF_ONE: usize = 64;
/// A table counts as so many at the most: who may have few has to have one of any size.
const MOST_OF_ONE: usize = 8;
/// Those for some endpoints of a service only. A node's programs use a handful, each for its own shard.
const MOST_NARROWED: usize = 1024;
/// Unused for so long, one is given up where another is wanted.
const UNUSED: Duration = Duration::from_secs(60);
/// How often they are looked for at the most: whoever is refused may ask on and on.
const LOOK: Duration = Duration::from_secs(1);

/// The tables that callers had made.
#[derive(Debug)]
pub(super) struct CallersTables {
    tables: Tables,
    all: Arc<Quota<Identity>>,
    narrowed: Arc<Quota<Identity>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_target: HashMap<Target, Use>,
    /// When unused ones were last looked for.
    looked: Option<Duration>,
    /// When those who know a table without asking here were last made to ask again: from then on it is
    /// known which tables are used.
    forgot: Option<Duration>,
}

#[derive(Debug)]
struct Use {
    last: Duration,
    _permits: Vec<Permit<Identity>>,
}

impl CallersTables {
    /// At most so many.
    pub(super) fn new(tables: Tables, most: usize) -> Self {
        let all = Quota::new("tables", most);
        let narrowed = Quota::new("tables for labels", MOST_NARROWED);
        Self { tables, all, narrowed, kept: Mutex::default() }
    }

    /// The table of a target. None: the catalog has no such port. `forget` has those ask here again who
    /// know tables without it.
    pub(super) fn open(
        &self,
        identity: Identity,
        target: &Target,
        now: Duration,
        forget: impl Fn(),
    ) -> Result<Option<Arc<Live>>, Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.by_target.get_mut(target) {
            known.last = now;
            return self.tables.open(target).map_err(Error::NoTable);
        }
        let permits = self.permits(identity, target).or_else(|exhausted| {
            self.give_up_unused(&mut kept, now, &forget);
            self.permits(identity, target).map_err(|_| exhausted)
        })?;
        let live = self.tables.open(target).map_err(Error::NoTable)?;
        if live.is_some() {
            kept.by_target.insert(target.clone(), Use { last: now, _permits: permits });
        }
        Ok(live)
    }

    fn permits(&self, identity: Identity, target: &Target) -> Result<Vec<Permit<Identity>>, Error> {
        let size = 1 + self.tables.endpoints_of(target) / ENDPOINTS_OF_ONE;
        let size = size.min(MOST_OF_ONE);
        let mut permits = vec![self.all.take_some(identity, size).map_err(refusal)?];
        if !target.selector.is_empty() {
            permits.push(self.narrowed.take(identity).map_err(refusal)?);
        }
        Ok(permits)
    }

    fn give_up_unused(&self, kept: &mut Kept, now: Duration, forget: &impl Fn()) {
        if kept.looked.is_some_and(|then| now < then + LOOK) {
            return;
        }
        kept.looked = Some(now);
        let before = kept.by_target.len();
        // Of services that are no more, and those that gave way where files ran out.
        kept.by_target.retain(|target, _| self.tables.is_open(target));
        if kept.by_target.len() < before {
            return;
        }
        // Those for labels are asked for here each time they are used.
        kept.by_target.retain(|target, of| {
            target.selector.is_empty() || of.last + UNUSED > now || !self.tables.close(target)
        });
        if let Some(since) = kept.forgot {
            if now < since + UNUSED {
                return;
            }
            kept.by_target.retain(|target, of| of.last >= since || !self.tables.close(target));
        }
        kept.forgot = Some(now);
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
        publish::Way,
    };

    const ME: Identity = Identity::Uid(1);
    const SOMEBODY: Identity = Identity::Uid(2);

    fn target(n: usize) -> Target {
        Target {
            service: format!("s{n}.shop").parse().unwrap(),
            port: (None, None),
            selector: crate::catalog::Labels::new(),
            way: Way::Balanced,
        }
    }

    struct Node {
        made: CallersTables,
        catalog: Arc<Catalog>,
        tables: Tables,
        forgot: Cell<u32>,
    }

    impl Node {
        /// With so many tables at most, and services that have one endpoint each, but the last, `large`.
        fn new(most: usize, services: usize, large: u8) -> Self {
            let catalog = Arc::new(Catalog::new(["test"]));
            for n in 0..services {
                let endpoints = if n + 1 == services { large } else { 1 };
                let service = service(&format!("s{n}.shop"), (1..=endpoints).map(endpoint));
                catalog.apply(SourceId(0), Change::Upsert(service), Duration::ZERO);
            }
            catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
            let (policies, here) = (ConfigPolicies::default(), Locality::default());
            let tables = Tables::start(catalog.clone(), policies, here, 1).unwrap();
            let made = CallersTables::new(tables.clone(), most);
            Self { made, catalog, tables, forgot: Cell::new(0) }
        }

        fn open(&self, who: Identity, n: usize, at: u64) -> Result<Option<Arc<Live>>, Error> {
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
        // A table is unused when it has gone to sleep.
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
