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

use super::Error;
use crate::{
    identity::Identity,
    publish::{Live, Tables, Target},
    quota::{Exhausted, Permit, Quota},
};

/// All that there may be. Measured: a table of a few endpoints takes 26 KiB, so that they take 104 MiB
/// of the DaemonSet's 256.
pub(super) const MOST: usize = 1 << 12;
/// So many endpoints take about as much as a table of a few.
const ENDPOINTS_OF_ONE: usize = 64;
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
    /// When those who know a table without asking here were last made to ask again.
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
        let mut permits = self.permits(identity, target).or_else(|exhausted| {
            self.give_up_unused(&mut kept, now, &forget);
            self.permits(identity, target).map_err(|_| exhausted)
        })?;
        let Some(live) = self.tables.open(target).map_err(Error::NoTable)? else {
            return Ok(None);
        };
        let more = live.room() / ENDPOINTS_OF_ONE;
        if more > 0 {
            permits.push(self.all.take_some(identity, more).map_err(|exhausted| {
                self.tables.close(target);
                refusal(exhausted)
            })?);
        }
        kept.by_target.insert(target.clone(), Use { last: now, _permits: permits });
        Ok(Some(live))
    }

    fn permits(&self, identity: Identity, target: &Target) -> Result<Vec<Permit<Identity>>, Error> {
        let mut permits = vec![self.all.take(identity).map_err(refusal)?];
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
        // Whoever uses one asks again within half of the time, and so its use is seen.
        if kept.forgot.is_none_or(|then| now >= then + UNUSED / 2) {
            kept.forgot = Some(now);
            forget();
        }
        kept.by_target.retain(|target, of| of.last + UNUSED > now || !self.tables.close(target));
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
            Catalog, Change, SourceId,
            sample::{endpoint, service},
        },
        plan::Here,
        policy::ConfigPolicies,
        publish::Way,
    };

    const ME: Identity = Identity::Uid(1);
    const SOMEBODY: Identity = Identity::Uid(2);

    struct Node {
        made: CallersTables,
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
            let (policies, here) = (ConfigPolicies::default(), Here::default());
            let tables = Tables::start(catalog, policies, here, 1).unwrap();
            Self { made: CallersTables::new(tables.clone(), most), tables, forgot: Cell::new(0) }
        }

        fn open(&self, who: Identity, n: usize, at: u64) -> Result<Option<Arc<Live>>, Error> {
            let target = Target {
                service: format!("s{n}.shop").parse().unwrap(),
                port: (None, None),
                selector: crate::catalog::Labels::new(),
                way: Way::Balanced,
            };
            let forget = || self.forgot.set(self.forgot.get() + 1);
            self.made.open(who, &target, Duration::from_secs(at), forget)
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
        assert!(node.open(ME, 3, 30).is_err());
        assert_eq!(node.forgot.get(), 1, "so that who uses one says so");
        node.open(ME, 0, 31).unwrap();
        assert!(node.open(ME, 3, 59).is_err());
        // A table is unused when it has gone to sleep.
        let asleep = (61..80).find(|at| {
            std::thread::sleep(Duration::from_millis(200));
            node.open(ME, 3, *at).is_ok()
        });
        assert!(asleep.is_some());
        assert!(node.open(ME, 4, 80).unwrap().is_some(), "both unused ones are gone");
        assert!(node.open(ME, 1, 80).is_err(), "the one in use is not");
    }

    #[test]
    fn a_large_table_counts_as_many() {
        let node = Node::new(8, 2, 200);
        let large = node.open(ME, 1, 0).unwrap().expect("a table");
        assert_eq!(node.made.all.in_use(), 1 + large.room() / ENDPOINTS_OF_ONE);
        let tight = Node::new(4, 2, 255);
        assert!(tight.open(ME, 1, 0).is_err(), "a quarter is kept for others");
        assert!(tight.open(ME, 0, 0).unwrap().is_some(), "and it has left nothing behind");
        assert_eq!(tight.made.all.in_use(), 1);
    }
}
