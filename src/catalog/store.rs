//! All services known, from all sources: merged, validated, versioned.
//!
//! Readers take a snapshot and never wait. A writer makes the next snapshot under a mutex, swaps
//! it in, and tells the listeners after that, outside of the mutex, so that a listener may call
//! back.
//!
//! The first source that knows a service owns all of its endpoints: a mixture would be a fleet
//! that nobody configured.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    brake::Brake,
    intern::Interner,
    lookup::{self, Found, LookupError},
    model::Service,
    name::{ServiceName, ServiceRef},
    validate,
};

/// Which of the catalog's sources, in the order of [`Catalog::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub usize);

/// What a source says.
#[derive(Clone, Debug)]
pub enum Change {
    /// All that it knows: what is not in it is gone.
    Replace(Vec<Service>),
    /// One service, whole.
    Upsert(Service),
    /// It no longer has this one.
    Remove(ServiceName),
    /// It has said all it knew at its start.
    Synced,
}

/// What the brake did, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrakeCounts {
    /// How often it took hold since the start.
    pub triggered: u64,
    /// Endpoints it holds now.
    pub held: usize,
}

type Listener = Arc<dyn Fn(&ServiceName) + Send + Sync>;
type Snapshot = HashMap<ServiceName, Arc<Service>>;

/// All services known, from all sources; shared by reference between threads.
pub struct Catalog {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    listeners: Mutex<Vec<Listener>>,
    /// Counts every change, for those who wait for one.
    generation: watch::Sender<u64>,
    /// When the next hold of the brake ends.
    deadline: watch::Sender<Option<Duration>>,
    /// Names of the sources that have not yet said all they know.
    unsynced: ArcSwap<Vec<Arc<str>>>,
    brakes_triggered: AtomicU64,
    brakes_held: AtomicUsize,
}

struct Writer {
    sources: Vec<Source>,
    /// With the source they belong to: another one's endpoints are no measure.
    brakes: HashMap<ServiceName, (usize, Brake)>,
    interner: Interner,
    version: u64,
}

struct Source {
    name: Arc<str>,
    synced: bool,
    known: HashMap<ServiceName, Arc<Service>>,
}

impl Catalog {
    /// An empty catalog over these sources, the first in order wins.
    pub fn new<N: Into<Arc<str>>>(source_names: impl IntoIterator<Item = N>) -> Self {
        let sources: Vec<Source> = source_names
            .into_iter()
            .map(|name| Source { name: name.into(), synced: false, known: HashMap::new() })
            .collect();
        let unsynced = sources.iter().map(|source| source.name.clone()).collect();
        Self {
            snapshot: ArcSwap::default(),
            writer: Mutex::new(Writer {
                sources,
                brakes: HashMap::new(),
                interner: Interner::new(),
                version: 0,
            }),
            listeners: Mutex::default(),
            generation: watch::Sender::new(0),
            deadline: watch::Sender::new(None),
            unsynced: ArcSwap::from_pointee(unsynced),
            brakes_triggered: AtomicU64::new(0),
            brakes_held: AtomicUsize::new(0),
        }
    }

    /// Takes in what a source says; `now` as [`crate::clock::now`] has it.
    ///
    /// # Panics
    /// If the catalog was made without such a source.
    pub fn apply(&self, source: SourceId, change: Change, now: Duration) {
        let mut writer = self.writer();
        let names = match change {
            Change::Replace(services) => writer.replace(source, services),
            Change::Upsert(service) => writer.upsert(source, service).into_iter().collect(),
            Change::Remove(name) => {
                writer.sources[source.0].known.remove(&name);
                vec![(name, None)]
            }
            Change::Synced => {
                writer.sources[source.0].synced = true;
                Vec::new()
            }
        };
        let unsynced: Vec<Arc<str>> =
            writer.sources.iter().filter(|s| !s.synced).map(|s| s.name.clone()).collect();
        let newly_synced = **self.unsynced.load() != unsynced;
        if newly_synced {
            self.unsynced.store(Arc::new(unsynced));
        }
        let changed = self.settle(&mut writer, names, now);
        drop(writer);
        self.announce(&changed, newly_synced);
    }

    /// Ends what the brake held long enough, and says when to come again; [`Self::end_holds`]
    /// does both at the right times.
    pub fn tick(&self, now: Duration) -> Option<Duration> {
        let mut writer = self.writer();
        let over: Vec<_> = writer
            .brakes
            .iter_mut()
            .filter_map(|(name, (_, brake))| brake.tick(now).then(|| (name.clone(), None)))
            .collect();
        let changed = self.settle(&mut writer, over, now);
        drop(writer);
        self.announce(&changed, false);
        *self.deadline.borrow()
    }

    /// Ends the brake's holds in time, for ever; wakes only when one ends or begins.
    pub async fn end_holds(&self) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let next = *deadline.borrow_and_update();
            let over = async {
                match next {
                    Some(at) => tokio::time::sleep(at.saturating_sub(crate::clock::now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => { self.tick(crate::clock::now()); }
                // The sender lives in `self`, so that this can't fail while we run.
                changed = deadline.changed() => if changed.is_err() { return },
            }
        }
    }

    /// A connection to this endpoint of the service failed: if only the brake still keeps it, it
    /// goes.
    pub fn connection_failed(&self, service: &ServiceName, address: SocketAddr, now: Duration) {
        // Failures come by the thousand; holds are rare.
        if self.brakes_held.load(Relaxed) == 0 {
            return;
        }
        let mut writer = self.writer();
        let gone =
            writer.brakes.get_mut(service).is_some_and(|(_, b)| b.connection_failed(address));
        if !gone {
            return;
        }
        let changed = self.settle(&mut writer, vec![(service.clone(), None)], now);
        drop(writer);
        self.announce(&changed, false);
    }

    /// Calls back with every service that changed or went, after it did. The callback reads the
    /// catalog for what is true now; of two quick changes it may see only the second.
    pub fn on_change(&self, listener: Box<dyn Fn(&ServiceName) + Send + Sync>) {
        lock(&self.listeners).push(Arc::from(listener));
    }

    /// The service and port that a name means, as they are now.
    pub fn lookup(&self, asked: &ServiceRef) -> Result<Found, LookupError> {
        let snapshot = self.snapshot.load();
        match snapshot.get(&asked.service) {
            Some(service) => lookup::port(service, asked.port.as_ref()),
            None => {
                let unsynced = self.unsynced.load();
                if unsynced.is_empty() {
                    return Err(lookup::no_such_service(&asked.service, snapshot.keys()));
                }
                Err(LookupError::NotSynced { sources: unsynced.to_vec() })
            }
        }
    }

    /// As [`Self::lookup`], but waits for the sources' first answer, at most so long.
    pub async fn lookup_wait(
        &self,
        asked: &ServiceRef,
        at_most: Duration,
    ) -> Result<Found, LookupError> {
        let mut generation = self.generation.subscribe();
        let settled = async {
            loop {
                match self.lookup(asked) {
                    Err(LookupError::NotSynced { .. }) => {}
                    settled => return settled,
                }
                if generation.changed().await.is_err() {
                    return self.lookup(asked);
                }
            }
        };
        tokio::time::timeout(at_most, settled).await.unwrap_or_else(|_| self.lookup(asked))
    }

    /// The service as it is now.
    pub fn get(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.snapshot.load().get(name).cloned()
    }

    /// All services (of one namespace), by name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Service>> {
        let snapshot = self.snapshot.load();
        let mut services: Vec<Arc<Service>> = snapshot
            .values()
            .filter(|service| namespace.is_none_or(|wanted| *service.name.namespace == *wanted))
            .cloned()
            .collect();
        services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        services
    }

    /// Every source has said all it knew at its start.
    pub fn synced(&self) -> bool {
        self.unsynced.load().is_empty()
    }

    /// Names of the sources that have not yet said all they know.
    pub fn unsynced(&self) -> Vec<Arc<str>> {
        self.unsynced.load().to_vec()
    }

    /// Waits until every source has answered, at most so long. True: they have.
    pub async fn wait_synced(&self, at_most: Duration) -> bool {
        let mut generation = self.generation.subscribe();
        let synced = async { while !self.synced() && generation.changed().await.is_ok() {} };
        tokio::time::timeout(at_most, synced).await.is_ok()
    }

    /// A number that grows with every change of anything here, to wait for.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// What the brake did.
    pub fn brake_counts(&self) -> BrakeCounts {
        BrakeCounts {
            triggered: self.brakes_triggered.load(Relaxed),
            held: self.brakes_held.load(Relaxed),
        }
    }

    /// Makes the snapshot true for these services; each with what its source said before, where
    /// that may have to be braked. Returns those that changed.
    fn settle(
        &self,
        writer: &mut Writer,
        names: Vec<(ServiceName, Option<Arc<Service>>)>,
        now: Duration,
    ) -> Vec<ServiceName> {
        let current = self.snapshot.load_full();
        let mut next: Option<Snapshot> = None;
        let mut changed = Vec::new();
        for (name, before) in names {
            let (service, triggered) = writer.merged(&name, before.as_deref(), now);
            self.brakes_triggered.fetch_add(u64::from(triggered), Relaxed);
            let known = next.as_ref().unwrap_or(&current).get(&name);
            match (known, service) {
                (None, None) => continue,
                (Some(_), None) => {
                    next.get_or_insert_with(|| (*current).clone()).remove(&name);
                }
                (known, Some(mut service)) => {
                    if known.is_some_and(|known| {
                        service.version = known.version;
                        **known == service
                    }) {
                        continue;
                    }
                    writer.version += 1;
                    service.version = writer.version;
                    next.get_or_insert_with(|| (*current).clone())
                        .insert(name.clone(), Arc::new(service));
                }
            }
            changed.push(name);
        }
        if let Some(next) = next {
            self.snapshot.store(Arc::new(next));
        }
        writer.brakes.retain(|_, (_, brake)| !brake.is_empty());
        let brakes = || writer.brakes.values().map(|(_, brake)| brake);
        self.brakes_held.store(brakes().map(Brake::held).sum(), Relaxed);
        let deadline = brakes().filter_map(Brake::deadline).min();
        self.deadline.send_if_modified(|known| {
            let modified = *known != deadline;
            *known = deadline;
            modified
        });
        changed
    }

    fn announce(&self, changed: &[ServiceName], newly_synced: bool) {
        if changed.is_empty() && !newly_synced {
            return;
        }
        let listeners = lock(&self.listeners).clone();
        for name in changed {
            listeners.iter().for_each(|listener| listener(name));
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

impl Writer {
    /// All that a source knows; returns what that touches, with what was before.
    fn replace(
        &mut self,
        source: SourceId,
        services: Vec<Service>,
    ) -> Vec<(ServiceName, Option<Arc<Service>>)> {
        let mut old = std::mem::take(&mut self.sources[source.0].known);
        let mut touched = Vec::new();
        for service in services {
            let name = service.name.clone();
            // What is equal keeps its strings and costs nothing more.
            if let Some(before) = old.remove(&name) {
                self.sources[source.0].known.insert(name, before);
            }
            touched.extend(self.upsert(source, service));
        }
        touched.extend(old.into_keys().map(|name| (name, None)));
        touched
    }

    fn upsert(
        &mut self,
        source: SourceId,
        mut service: Service,
    ) -> Option<(ServiceName, Option<Arc<Service>>)> {
        validate::mend(&mut service);
        let known = &mut self.sources[source.0].known;
        let before = known.get(&service.name).cloned();
        if before.as_ref().is_some_and(|before| **before == service) {
            return None;
        }
        self.interner.share(&mut service);
        let name = service.name.clone();
        known.insert(name.clone(), Arc::new(service));
        // Another source's service was served until now: it is no measure for this one.
        let owns = self.owner(&name) == Some(source.0);
        Some((name, before.filter(|_| owns)))
    }

    /// The service as it is to be served, and whether the brake took hold anew.
    fn merged(
        &mut self,
        name: &ServiceName,
        before: Option<&Service>,
        now: Duration,
    ) -> (Option<Service>, bool) {
        let Some(owner) = self.owner(name) else {
            self.brakes.remove(name);
            return (None, false);
        };
        if self.brakes.get(name).is_some_and(|(source, _)| *source != owner) {
            self.brakes.remove(name);
        }
        let service = &self.sources[owner].known[name];
        let mut triggered = false;
        if let Some(before) = before {
            let (_, brake) = self.brakes.entry(name.clone()).or_insert((owner, Brake::default()));
            triggered = brake.observe(before, service, now);
        }
        let service = (**service).clone();
        match self.brakes.get(name) {
            Some((_, brake)) => (Some(brake.hold(service)), triggered),
            None => (Some(service), triggered),
        }
    }

    fn owner(&self, name: &ServiceName) -> Option<usize> {
        self.sources.iter().position(|source| source.known.contains_key(name))
    }
}

/// A panic under a lock leaves whole values behind here: what follows it may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
