//! What every source says, and the one service that comes of it.
//!
//! The first source that knows a service owns all of its endpoints: a mixture would be a fleet
//! that nobody configured.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    brake::Brake,
    intern::Interner,
    model::Service,
    name::ServiceName,
    store::{Change, SourceId},
    validate,
};

/// What the sources say; the catalog's writing side.
pub(super) struct Merge {
    sources: Vec<Source>,
    /// With the source they belong to: another one's endpoints are no measure.
    brakes: HashMap<ServiceName, (usize, Brake)>,
    interner: Interner,
}

struct Source {
    name: Arc<str>,
    synced: bool,
    known: HashMap<ServiceName, Arc<Service>>,
}

/// A service that may have changed.
pub(super) struct Touched {
    pub(super) name: ServiceName,
    /// What its source said before, where that is to be braked.
    before: Option<Arc<Service>>,
}

impl Touched {
    fn by_removal(name: ServiceName) -> Self {
        Self { name, before: None }
    }
}

impl Merge {
    pub(super) fn new(source_names: impl Iterator<Item = Arc<str>>) -> Self {
        let sources =
            source_names.map(|name| Source { name, synced: false, known: HashMap::new() });
        Self { sources: sources.collect(), brakes: HashMap::new(), interner: Interner::new() }
    }

    /// Takes in what a source says.
    pub(super) fn take(&mut self, source: SourceId, change: Change) -> Vec<Touched> {
        match change {
            Change::Replace(services) => self.replace(source.0, services),
            Change::Upsert(service) => self.upsert(source.0, service).into_iter().collect(),
            Change::Remove(name) => {
                self.sources[source.0].known.remove(&name);
                vec![Touched::by_removal(name)]
            }
            Change::Synced => {
                self.sources[source.0].synced = true;
                Vec::new()
            }
        }
    }

    /// Lets a service share what it has in common with others.
    pub(super) fn share(&mut self, service: &mut Service) {
        self.interner.share(service);
    }

    fn replace(&mut self, source: usize, services: Vec<Service>) -> Vec<Touched> {
        let mut old = std::mem::take(&mut self.sources[source].known);
        let mut touched = Vec::new();
        for service in services {
            // What is equal keeps its strings and costs nothing more.
            if let Some((name, before)) = old.remove_entry(&service.name) {
                self.sources[source].known.insert(name, before);
            }
            touched.extend(self.upsert(source, service));
        }
        touched.extend(old.into_keys().map(Touched::by_removal));
        touched
    }

    fn upsert(&mut self, source: usize, mut service: Service) -> Option<Touched> {
        validate::mend(&mut service);
        let known = &mut self.sources[source].known;
        let before = known.get(&service.name).cloned();
        if before.as_ref().is_some_and(|before| **before == service) {
            return None;
        }
        self.interner.share(&mut service);
        let name = service.name.clone();
        known.insert(name.clone(), Arc::new(service));
        let owns = self.owner(&name) == Some(source);
        Some(Touched { name, before: before.filter(|_| owns) })
    }

    /// The service as it is to be served, and whether the brake took hold anew.
    pub(super) fn merged(&mut self, touched: &Touched, now: Duration) -> (Option<Service>, bool) {
        let name = &touched.name;
        let owner = self.owner(name);
        if self.brakes.get(name).is_some_and(|(source, _)| Some(*source) != owner) {
            self.brakes.remove(name);
        }
        let Some(owner) = owner else { return (None, false) };
        let service = &self.sources[owner].known[name];
        let mut triggered = false;
        if let Some(before) = &touched.before {
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

    /// Names of the sources that have not yet said all they know.
    pub(super) fn unsynced(&self) -> Vec<Arc<str>> {
        self.sources.iter().filter(|s| !s.synced).map(|s| s.name.clone()).collect()
    }

    /// Ends the holds that are over.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Touched> {
        self.brakes
            .iter_mut()
            .filter_map(|(name, (_, brake))| {
                brake.tick(now).then(|| Touched::by_removal(name.clone()))
            })
            .collect()
    }

    /// A connection to this endpoint failed.
    pub(super) fn connection_failed(
        &mut self,
        name: &ServiceName,
        address: SocketAddr,
    ) -> Option<Touched> {
        let (_, brake) = self.brakes.get_mut(name)?;
        brake.connection_failed(address).then(|| Touched::by_removal(name.clone()))
    }

    /// Endpoints held by the brake, and when the next hold ends.
    pub(super) fn held(&mut self) -> (usize, Option<Duration>) {
        self.brakes.retain(|_, (_, brake)| !brake.is_empty());
        let brakes = || self.brakes.values().map(|(_, brake)| brake);
        (brakes().map(Brake::held).sum(), brakes().filter_map(Brake::deadline).min())
    }
}
