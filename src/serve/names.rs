//! From a caller's name of a service to its live table.
//!
//! A name is parsed and looked up once; after that it costs one lookup of its text, as long as the
//! catalog says that nothing has changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dashmap::DashMap;
use tokio::sync::watch;

use super::error::{Error, Violation};
use crate::{
    catalog::{Catalog, Found, Labels, LookupError, ServiceName, ServiceRef},
    policy::ConfigPolicies,
    publish::{Live, Tables, Target, leases::Tally},
};

/// Names kept resolved. Callers choose the texts (`cart.shop`, `cart.shop:80`, the DNS name), so
/// there must be a bound; a node's programs use far fewer.
const KEPT: usize = 4096;

/// What a name led to.
#[derive(Clone)]
pub struct Resolved {
    /// The table.
    pub live: Arc<Live>,
    /// Where its picks are counted.
    pub tally: Arc<Tally>,
}

/// Names resolved, and what is needed to resolve more.
pub struct Names {
    catalog: Arc<Catalog>,
    tables: Tables,
    changes: watch::Receiver<u64>,
    kept: DashMap<Box<str>, Kept>,
    tallies: Mutex<Tallies>,
}

/// Every service's counts; each stays for good, since a counter may not go back.
#[derive(Default)]
struct Tallies {
    by_name: HashMap<ServiceName, Arc<Tally>>,
    in_order: Vec<Arc<Tally>>,
}

struct Kept {
    /// The catalog's count of changes when it was looked up.
    as_of: u64,
    resolved: Resolved,
}

impl Names {
    /// None resolved yet.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, tables: Tables) -> Self {
        let changes = catalog.changes();
        Self { catalog, tables, changes, kept: DashMap::new(), tallies: Mutex::default() }
    }

    /// The live table of what is called so, narrowed by labels; waits for the sources' first
    /// answer, at most so long.
    ///
    /// # Errors
    /// When the name is malformed, leads nowhere, or may yet lead somewhere.
    pub async fn resolve(
        &self,
        name: &str,
        selector: Labels,
        wait: Duration,
    ) -> Result<Resolved, Error> {
        // Read before the lookup: a change in between makes the entry old, never wrong.
        let as_of = *self.changes.borrow();
        if selector.is_empty()
            && let Some(kept) = self.kept.get(name)
            && kept.as_of == as_of
        {
            return Ok(kept.resolved.clone());
        }
        let keep = selector.is_empty();
        let found = self.find(name, wait).await?;
        let live = self.open(name, &found, selector)?;
        let resolved = Resolved { live, tally: self.tally(&found.service.name) };
        if keep {
            if self.kept.len() >= KEPT {
                self.kept.clear();
            }
            self.kept.insert(name.into(), Kept { as_of, resolved: resolved.clone() });
        }
        Ok(resolved)
    }

    /// The service and port that are called so.
    ///
    /// # Errors
    /// As [`Names::resolve`].
    pub async fn find(&self, name: &str, wait: Duration) -> Result<Found, Error> {
        let asked: ServiceRef = name.parse()?;
        self.catalog.lookup_wait(&asked, wait).await.map_err(|error| not_found(name, error, wait))
    }

    /// The live table of a port.
    ///
    /// # Errors
    /// When the catalog has lost it meanwhile.
    pub fn open(&self, name: &str, found: &Found, selector: Labels) -> Result<Arc<Live>, Error> {
        let port = &found.service.ports[found.port];
        let target = Target {
            service: found.service.name.clone(),
            port: (port.name.clone(), port.number),
            selector,
        };
        let opened = self.tables.open(&target).map_err(Error::NoTable)?;
        opened.ok_or_else(|| {
            let gone =
                LookupError::NoSuchService { asked: found.service.name.clone(), near: Vec::new() };
            not_found(name, gone, Duration::ZERO)
        })
    }

    /// The live table of a target, as another agent names it. None: the catalog has no such port.
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub(super) fn table(&self, target: &Target) -> std::io::Result<Option<Arc<Live>>> {
        self.tables.open(target)
    }

    /// What was configured of services' policies: explains where a setting came from.
    pub(super) fn policies(&self) -> Arc<ConfigPolicies> {
        self.tables.policies()
    }

    /// What is known.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) fn tally(&self, service: &ServiceName) -> Arc<Tally> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tallies.by_name.get(service) {
            return Arc::clone(tally);
        }
        let tally = Arc::new(Tally::new(service.clone()));
        tallies.by_name.insert(service.clone(), Arc::clone(&tally));
        tallies.in_order.push(Arc::clone(&tally));
        tally
    }

    /// The counts of every service that was picked from, in the order of their first picks.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).in_order.clone()
    }
}

/// What a caller hears of a name that led nowhere.
pub(super) fn not_found(name: &str, error: LookupError, waited: Duration) -> Error {
    match error {
        LookupError::NotSynced { .. } => {
            Error::NotAnswered { what: name.to_owned(), why: error.to_string(), waited }
        }
        LookupError::PortNeeded { .. } => Violation::new("service", error.to_string()).into(),
        error => Error::NotFound(error),
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}
