//! Resolves a service's name to its live table.
//!
//! A name is parsed and looked up in the catalog once. Then its text is in a cache, which is valid
//! until the catalog changes.
//!
//! - [`access`]: which callers may ask for which namespaces
//! - `tables`: limits the number of tables
//! - `suggestions`: similar names, for the error of an unknown name

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::sync::watch;

use self::{
    access::{Access, CurrentAccess},
    suggestions::Suggestions,
    tables::CallersTables,
};
use crate::{
    catalog::{Catalog, Found, Interest, Labels, LookupError, ServiceName, ServiceRef},
    clock,
    identity::{Identity, Pods},
    leases::Tally,
    policy::ConfigPolicies,
    publish::{NoEndpoint, ServiceTable, Tables, Target, TargetKind},
    serve::{Error, Violation},
};

pub mod access;
mod suggestions;
mod tables;

/// Cached names. Callers choose the texts (`cart.shop`, `cart.shop:80`, the DNS name), so there must be
/// a bound. A node's programs use far fewer.
const CACHED: usize = 4096;
/// A cache with fewer names is not searched for names without a table.
const FEW: usize = 64;
/// Notes of a service in the error of a pick without endpoint. `explain` has all.
const NOTES: usize = 3;

pub struct Resolved {
    pub live: Arc<ServiceTable>,
    pub tally: Arc<Tally>,
}

pub struct Resolver {
    catalog: Arc<Catalog>,
    tables: Tables,
    changes: watch::Receiver<u64>,
    cache: DashMap<Box<str>, CachedName>,
    /// The cache is tidied when it has so many names.
    tidied_at: AtomicUsize,
    tallies: Arc<Mutex<Tallies>>,
    access: Arc<CurrentAccess>,
    pods: Arc<Pods>,
    callers_tables: CallersTables,
    suggestions: Suggestions,
    sorting: tokio::sync::Mutex<()>,
}

/// The counts of every service. None is removed, since a counter may not go back.
#[derive(Default)]
struct Tallies {
    by_name: HashMap<ServiceName, Arc<Tally>>,
    in_order: Vec<Arc<Tally>>,
}

struct CachedName {
    /// The catalog's count of changes at the lookup.
    as_of: u64,
    /// Weak, so that an unused name does not keep the memory of a deleted service or a closed table.
    live: Weak<ServiceTable>,
    tally: Arc<Tally>,
    /// Has an on-demand source follow the service.
    interest: Option<Interest>,
}

impl CachedName {
    /// The table and the counts, if the table is still there.
    fn resolved(&self) -> Option<Resolved> {
        let live = self.live.upgrade()?;
        if let Some(interest) = &self.interest {
            interest.renew();
        }
        Some(Resolved { live, tally: self.tally.clone() })
    }
}

impl Resolver {
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, tables: Tables, access: Access, pods: Arc<Pods>) -> Self {
        let changes = catalog.changes();
        let access = Arc::new(CurrentAccess::new(access, pods.clone()));
        let tallies = Arc::<Mutex<Tallies>>::default();
        let counted = Arc::clone(&tallies);
        catalog.interests().keep_while(move |service| {
            let tallies = counted.lock().unwrap_or_else(PoisonError::into_inner);
            tallies.by_name.get(service).is_some_and(|tally| tally.open() > 0)
        });
        Self {
            suggestions: Suggestions::new(catalog.clone(), access.clone()),
            catalog,
            changes,
            cache: DashMap::new(),
            tidied_at: AtomicUsize::new(FEW),
            tallies,
            access,
            sorting: tokio::sync::Mutex::default(),
            pods,
            callers_tables: CallersTables::new(tables.clone(), tables::MOST),
            tables,
        }
    }

    /// The live table of a name, restricted to endpoints with these labels. Waits for the sources' first
    /// answer, at most `wait`.
    ///
    /// # Errors
    /// The name is malformed or unknown, no source has answered yet, or this caller may not ask for
    /// it.
    pub async fn resolve(
        &self,
        identity: Identity,
        name: &str,
        selector: Labels,
        wait: Duration,
    ) -> Result<Resolved, Error> {
        // Read before the lookup: a change in between makes the entry stale, never wrong.
        let as_of = *self.changes.borrow();
        if selector.is_empty()
            && self.access.is_open()
            && let Some(kept) = self.cache.get(name)
            && kept.as_of == as_of
            && let Some(resolved) = kept.resolved()
        {
            return Ok(resolved);
        }
        let keep = selector.is_empty();
        // Boxed, so that this future stays small: nearly all names are cached.
        let found = Box::pin(self.find(identity, name, wait)).await?;
        let live = self.open(identity, name, &found, selector)?;
        let service = &found.service.name;
        let tally = self.tally(service);
        if keep {
            let interest = self.catalog.interest(service);
            let kept = CachedName {
                as_of,
                live: Arc::downgrade(&live),
                tally: Arc::clone(&tally),
                interest,
            };
            self.keep(name, kept);
        }
        Ok(Resolved { live, tally })
    }

    fn keep(&self, name: &str, entry: CachedName) {
        // The threshold doubles, so that tidying costs a few looks for each name.
        if self.cache.len() >= self.tidied_at.load(Relaxed) {
            self.cache.retain(|_, entry| entry.live.strong_count() > 0);
            if self.cache.len() >= CACHED {
                self.cache.clear();
            }
            self.tidied_at.store((2 * self.cache.len()).clamp(FEW, CACHED), Relaxed);
        }
        self.cache.insert(name.into(), entry);
    }

    /// The service and port of a name.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub async fn find(
        &self,
        identity: Identity,
        name: &str,
        wait: Duration,
    ) -> Result<Found, Error> {
        let asked = self.parse_allowed(identity, name)?;
        match self.catalog.lookup_wait_by(Some(identity), &asked, wait).await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.not_found(identity, name, error, wait).await),
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// It is malformed, or this caller may not ask for it.
    pub fn parse_allowed(&self, identity: Identity, name: &str) -> Result<ServiceRef, Error> {
        let asked: ServiceRef = name.parse()?;
        self.admit(identity, &asked)?;
        Ok(asked)
    }

    /// # Errors
    /// This caller may not ask for this service.
    pub(super) fn admit(&self, identity: Identity, asked: &ServiceRef) -> Result<(), Error> {
        if self.access.allows(identity, &asked.service.namespace) {
            return Ok(());
        }
        let namespace = asked.service.namespace.to_string();
        Err(Error::Forbidden { caller: self.pods.named(identity).to_string(), namespace })
    }

    /// Replaces the access rules. Returns whether they differ from the rules before.
    pub fn set_access(&self, access: Access) -> bool {
        self.access.replace(access)
    }

    /// Whether this caller may know of services in this namespace.
    pub fn allows(&self, identity: Identity, namespace: &str) -> bool {
        self.access.allows(identity, namespace)
    }

    /// The live table of a port.
    ///
    /// # Errors
    /// The catalog no longer has it.
    pub fn open(
        &self,
        identity: Identity,
        name: &str,
        found: &Found,
        selector: Labels,
    ) -> Result<Arc<ServiceTable>, Error> {
        let port = &found.service.ports[found.port];
        let target = Target {
            service: found.service.name.clone(),
            port: (port.name.clone(), port.number),
            selector,
            way: TargetKind::Balanced,
        };
        self.table(identity, &target)?.ok_or_else(|| {
            let asked = found.service.name.clone();
            lost(name, LookupError::NoSuchService { asked, near: Vec::new() }, Duration::ZERO)
        })
    }

    /// Adds the source's notes of the service to the error, if no endpoint is known at all: they say
    /// why.
    pub(super) fn with_reason(&self, mut error: NoEndpoint, live: &ServiceTable) -> NoEndpoint {
        if !error.known
            && let Some(service) = self.catalog().get(&live.target().service)
        {
            for note in service.notes.iter().take(NOTES) {
                error.why.push_str("; ");
                error.why.push_str(note);
            }
        }
        error
    }

    /// The table of a service's virtual IP, if it has one.
    ///
    /// # Errors
    /// As [`Resolver::table`].
    pub(super) fn virtual_ip(
        &self,
        identity: Identity,
        of: &ServiceTable,
    ) -> Result<Option<Arc<ServiceTable>>, Error> {
        self.table(identity, &Target { way: TargetKind::VirtualIp, ..of.target().clone() })
    }

    /// The live table of a target; `None` if the catalog has no such port.
    ///
    /// # Errors
    /// The system gives no shared memory, or this caller has too many tables.
    pub(super) fn table(
        &self,
        identity: Identity,
        target: &Target,
    ) -> Result<Option<Arc<ServiceTable>>, Error> {
        self.callers_tables.open(identity, target, clock::now(), || self.cache.clear())
    }

    /// The configured policies, which say where a setting came from.
    pub(super) fn policies(&self) -> Arc<ConfigPolicies> {
        self.tables.policies()
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The error for an unknown name. `waited`: the most time to wait for a suggestion.
    pub(super) async fn not_found(
        &self,
        identity: Identity,
        name: &str,
        error: LookupError,
        waited: Duration,
    ) -> Error {
        match error {
            LookupError::NoSuchService { asked, .. } => {
                let near = self.suggestions.near(identity, &asked, waited).await;
                Error::NotFound(LookupError::NoSuchService { asked, near })
            }
            error => lost(name, error, waited),
        }
    }

    /// The names of all services, in order.
    pub(super) async fn listed(&self) -> Arc<[ServiceName]> {
        if let Some(names) = self.catalog.sorted_names() {
            return names;
        }
        // One sort at a time, however many calls ask.
        let _turn = self.sorting.lock().await;
        let catalog = Arc::clone(&self.catalog);
        let sorted = tokio::task::spawn_blocking(move || catalog.sort_names()).await;
        // It fails only when the runtime ends.
        sorted.unwrap_or_else(|_| Arc::from([]))
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

    /// The counts of every service that was picked from, in the order of the first picks.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).in_order.clone()
    }
}

/// The error for a name that was valid just now, so that it needs no suggestion.
pub(super) fn lost(name: &str, error: LookupError, waited: Duration) -> Error {
    match error {
        LookupError::NotSynced { .. } | LookupError::Awaited { .. } => {
            Error::NotAnswered { what: name.to_owned(), why: error.to_string(), waited }
        }
        LookupError::PortNeeded { .. } => Violation::new("service", error.to_string()).into(),
        LookupError::NotAsked { exhausted, .. } => Error::Exhausted {
            exhausted,
            right: "pick from fewer services, or wait: the agent forgets a service 10 to 25 \
                    minutes after its last pick",
        },
        error => Error::NotFound(error),
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("cached", &self.cache.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
