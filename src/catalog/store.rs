//! The catalog: all services from all sources, merged, validated, versioned.
//!
//! Readers take a snapshot and never wait. A writer builds the next snapshot under a mutex and
//! swaps it in. It calls the listeners after it released the mutex, so that a listener may call
//! back.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};

use super::{
    change::{Change, SourceId},
    interest::Interests,
    last_good::LastGood,
    merge::{Merge, Touched},
    model::Service,
    name::ServiceName,
    name_index::NameIndex,
    progress::Progresses,
};

/// Counts of the brake, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrakeCounts {
    /// How often it took hold since the agent started.
    pub triggered: u64,
    /// Endpoints it holds now.
    pub held: usize,
}

use self::{snapshot::Snapshot, sorted_names::SortedNames};

mod listing;
mod lookups;
mod on_demand;
mod snapshot;
mod sorted_names;

type Listener = dyn Fn(&[ServiceName]) + Send + Sync;

/// All services known, from all sources; shared by reference between threads.
pub struct Catalog {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    name_index: Arc<NameIndex>,
    interests: Interests,
    listeners: Mutex<Vec<Arc<Listener>>>,
    /// Counts every change, to wait on.
    generation: watch::Sender<u64>,
    /// Counts changes of the set of services.
    names_version: AtomicU64,
    sorted: ArcSwap<SortedNames>,
    sources: Vec<Arc<str>>,
    /// When the next hold of the brake ends, or a service becomes stale.
    deadline: watch::Sender<Option<Duration>>,
    /// The sources that have not told all they know yet.
    unsynced: ArcSwap<Vec<Arc<str>>>,
    progress: Arc<Progresses>,
    /// Why a source has told nothing yet, if it says why.
    excuses: Mutex<HashMap<Arc<str>, Arc<str>>>,
    brakes_triggered: AtomicU64,
    brakes_held: AtomicUsize,
    /// Receivers of the services at which the brake takes hold.
    brake_followers: Mutex<Vec<UnboundedSender<ServiceName>>>,
}

struct Writer {
    merge: Merge,
    /// One counter for all services, so that a service's version grows even if it is removed and
    /// returns.
    version: u64,
}

/// The next snapshot, which readers do not see yet.
struct Next {
    /// The current one until something differs.
    snapshot: Arc<Snapshot>,
    /// The services that differ, perhaps with repetitions.
    changed: Vec<ServiceName>,
    /// The set of services differs.
    names: bool,
}

impl Catalog {
    /// An empty catalog over these sources, the first in order wins.
    pub fn new<N: Into<Arc<str>>>(source_names: impl IntoIterator<Item = N>) -> Self {
        let merge = Merge::new(source_names.into_iter().map(Into::into));
        let unsynced = merge.unsynced();
        Self {
            name_index: merge.name_index().clone(),
            interests: Interests::default(),
            snapshot: ArcSwap::default(),
            writer: Mutex::new(Writer { merge, version: 0 }),
            listeners: Mutex::default(),
            generation: watch::Sender::new(0),
            names_version: AtomicU64::new(0),
            sorted: ArcSwap::from_pointee(SortedNames::none()),
            // At the start no source has answered.
            sources: unsynced.clone(),
            deadline: watch::Sender::new(None),
            unsynced: ArcSwap::from_pointee(unsynced),
            progress: Arc::default(),
            excuses: Mutex::default(),
            brakes_triggered: AtomicU64::new(0),
            brakes_held: AtomicUsize::new(0),
            brake_followers: Mutex::default(),
        }
    }

    /// How far the sources have read.
    pub fn progress(&self) -> &Arc<Progresses> {
        &self.progress
    }

    /// The same catalog for readers on this node, who get only its endpoints of a service that is for
    /// callers on an endpoint's own node.
    #[must_use]
    pub fn on_node(self, node: Option<Arc<str>>) -> Self {
        self.writer().merge.on_node(node);
        self
    }

    /// Applies a change that a source tells; `now`: [`crate::clock::now`].
    ///
    /// # Panics
    /// If the catalog was made without such a source.
    pub fn apply(&self, source: SourceId, change: Change, now: Duration) {
        self.apply_all(source, [change], now);
    }

    /// Applies changes in their order, as one: readers see all of them or none, and listeners hear of
    /// each service once.
    ///
    /// # Panics
    /// If the catalog was made without such a source.
    pub fn apply_all(
        &self,
        source: SourceId,
        changes: impl IntoIterator<Item = Change>,
        now: Duration,
    ) {
        self.take_in(self.writer(), source, changes, now);
    }

    fn take_in(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        source: SourceId,
        changes: impl IntoIterator<Item = Change>,
        now: Duration,
    ) {
        let mut next = self.next();
        let mut forgotten = false;
        for change in changes {
            next.names |= matches!(change, Change::Names(_) | Change::Name(_) | Change::Remove(_));
            let touched = writer.merge.take(source, change);
            forgotten |= self.forget_gone(&touched);
            self.settle(&mut writer, &mut next, touched, now);
        }
        let changed = self.publish(&writer, next);
        // After the snapshot: who finds that all sources have answered must find what they told.
        let unsynced = writer.merge.unsynced();
        let newly_synced = **self.unsynced.load() != unsynced;
        if newly_synced {
            self.unsynced.store(Arc::new(unsynced));
        }
        drop(writer);
        self.ask_for_fallbacks(&changed);
        self.announce(&changed, newly_synced || forgotten);
    }

    /// Adds services of an earlier run whose source has not answered yet. `wall`: the wall clock, by
    /// which they were confirmed.
    ///
    /// # Panics
    /// If the catalog was made without such a source.
    pub fn restore(&self, services: Vec<LastGood>, wall: SystemTime, now: Duration) {
        let mut writer = self.writer();
        let touched = writer.merge.restore(services, wall, now);
        self.settle_alone(writer, touched, now);
    }

    /// The services to keep for the next run.
    pub fn last_good(&self) -> Vec<LastGood> {
        self.writer().merge.last_good()
    }

    /// Makes a service share its strings with the catalog, for a source that keeps its services.
    /// [`Self::apply`] does so by itself.
    pub fn share(&self, service: &mut Service) {
        self.writer().merge.share(service);
    }

    /// Ends the brake's holds that are over, and returns when to call again. [`Self::end_holds`]
    /// calls it at the right times.
    pub fn tick(&self, now: Duration) -> Option<Duration> {
        let mut writer = self.writer();
        let over = writer.merge.tick(now);
        self.settle_alone(writer, over, now);
        *self.deadline.borrow()
    }

    /// Ends the brake's holds in time, forever. Wakes only when one ends or begins.
    pub async fn end_holds(&self) {
        self.end_holds_by(crate::clock::now).await;
    }

    pub(super) async fn end_holds_by(&self, clock: impl Fn() -> Duration) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let next = *deadline.borrow_and_update();
            let over = async {
                match next {
                    Some(at) => tokio::time::sleep(at.saturating_sub(clock())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => { self.tick(clock()); }
                // The sender lives in `self`, so that this can't fail while we run.
                changed = deadline.changed() => if changed.is_err() { return },
            }
        }
    }

    /// A connection to this endpoint failed. If only the brake keeps the endpoint, it is removed.
    pub fn connection_failed(&self, service: &ServiceName, address: SocketAddr, now: Duration) {
        // Failures may come by the thousand, while holds are rare.
        if self.brakes_held.load(Relaxed) == 0 {
            return;
        }
        let mut writer = self.writer();
        let gone = writer.merge.connection_failed(service, address);
        if !gone.is_empty() {
            self.settle_alone(writer, gone, now);
        }
    }

    /// Calls back after services changed or went, with each of them once. The callback reads the current
    /// state from the catalog; of two quick changes it may see only the second.
    pub fn on_change(&self, listener: Box<Listener>) {
        lock(&self.listeners).push(Arc::from(listener));
    }

    /// The service as it is now.
    pub fn get(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.snapshot.load().get(name).cloned()
    }

    /// All services (of one namespace), by name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Service>> {
        let snapshot = self.snapshot.load();
        let mut services: Vec<Arc<Service>> = snapshot
            .iter()
            .filter(|service| namespace.is_none_or(|wanted| *service.name.namespace == *wanted))
            .cloned()
            .collect();
        services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        services
    }

    /// Whether every source has told all it knew at its start.
    pub fn synced(&self) -> bool {
        self.unsynced.load().is_empty()
    }

    /// The sources that have not told all they know yet.
    pub fn unsynced(&self) -> Vec<Arc<str>> {
        self.unsynced.load().to_vec()
    }

    /// Waits until every source has answered. Returns false after `at_most`.
    pub async fn wait_synced(&self, at_most: Duration) -> bool {
        let mut generation = self.generation.subscribe();
        let synced = async { while !self.synced() && generation.changed().await.is_ok() {} };
        tokio::time::timeout(at_most, synced).await.is_ok()
    }

    /// A counter to wait on. It grows with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Counts of the brake.
    pub fn brake_counts(&self) -> BrakeCounts {
        BrakeCounts {
            triggered: self.brakes_triggered.load(Relaxed),
            held: self.brakes_held.load(Relaxed),
        }
    }

    /// Receives each service at which the brake takes hold from now on, as often as
    /// [`BrakeCounts::triggered`] counts it.
    pub fn follow_brake(&self) -> UnboundedReceiver<ServiceName> {
        let (follower, braked) = unbounded_channel();
        lock(&self.brake_followers).push(follower);
        braked
    }

    fn next(&self) -> Next {
        Next { snapshot: self.snapshot.load_full(), changed: Vec::new(), names: false }
    }

    /// Brings the next snapshot up to date for these services.
    fn settle(&self, writer: &mut Writer, next: &mut Next, touched: Vec<Touched>, now: Duration) {
        for touched in writer.merge.with_those_that_fall_back(touched) {
            let (service, triggered) = writer.merge.merged(&touched, now);
            let name = touched.name;
            if triggered {
                self.brakes_triggered.fetch_add(1, Relaxed);
                lock(&self.brake_followers).retain(|to| to.send(name.clone()).is_ok());
            }
            match (next.snapshot.get(&name), service) {
                (None, None) => continue,
                (Some(_), None) => {
                    Arc::make_mut(&mut next.snapshot).remove(&name);
                    next.names |= self.name_index.owner(&name).is_none();
                }
                (known, Some(mut service)) => {
                    if known.is_some_and(|known| {
                        service.version = known.version;
                        **known == service
                    }) {
                        continue;
                    }
                    next.names |= known.is_none() && self.name_index.owner(&name).is_none();
                    writer.version += 1;
                    service.version = writer.version;
                    Arc::make_mut(&mut next.snapshot).insert(Arc::new(service));
                }
            }
            next.changed.push(name);
        }
    }

    /// Makes the next snapshot the current one. Returns the services that changed, each once.
    fn publish(&self, writer: &Writer, next: Next) -> Vec<ServiceName> {
        let Next { snapshot, mut changed, names } = next;
        if changed.len() > 1 {
            let mut seen = HashSet::with_capacity(changed.len());
            changed.retain(|name| seen.insert(name.clone()));
        }
        if !changed.is_empty() {
            self.snapshot.store(snapshot);
        }
        // After the snapshot, so that what a reader finds in an old snapshot has an old version.
        self.names_version.fetch_add(u64::from(names), Relaxed);
        let (held, deadline) = writer.merge.held();
        self.brakes_held.store(held, Relaxed);
        self.deadline.send_if_modified(|known| {
            let modified = *known != deadline;
            *known = deadline;
            modified
        });
        changed
    }

    /// Brings the snapshot up to date for these services, which no change of a source touched.
    fn settle_alone(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        touched: Vec<Touched>,
        now: Duration,
    ) {
        let mut next = self.next();
        self.settle(&mut writer, &mut next, touched, now);
        let changed = self.publish(&writer, next);
        drop(writer);
        self.announce(&changed, false);
    }

    /// `news`: wake the waiters even if no service changed.
    fn announce(&self, changed: &[ServiceName], news: bool) {
        if changed.is_empty() && !news {
            return;
        }
        if !changed.is_empty() {
            let listeners = lock(&self.listeners).clone();
            listeners.iter().for_each(|listener| listener(changed));
        }
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("services", &self.snapshot.load().len())
            .field("unsynced", &self.unsynced.load())
            .finish_non_exhaustive()
    }
}

/// Ignores poisoning: a panic under these locks leaves no half-written value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod tests;
