//! Merges what the sources tell into one service per name.
//!
//! The first source that knows a service owns all of its endpoints. A mixture of two sources would
//! be a fleet that nobody configured.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    brakes::Brakes,
    change::{Change, SourceId},
    fallback::{self, Fallbacks},
    intern::Interner,
    last_good::{LastGood, Unconfirmed},
    model::{Service, Setting},
    name::ServiceName,
    name_index::NameIndex,
    own_node::Standing,
    previous_value, validate,
};

/// What all sources told; the catalog's writing side.
pub(super) struct Merge {
    sources: Vec<Source>,
    brakes: Brakes,
    interner: Interner,
    name_index: Arc<NameIndex>,
    standing: Standing,
    fallbacks: Fallbacks,
}

struct Source {
    name: Arc<str>,
    synced: bool,
    known: HashMap<ServiceName, Arc<Service>>,
    /// The known services that it has not told in this run.
    unconfirmed: Unconfirmed,
    /// Settings of withdrawn services, if some are invalid. Once the source tells such a service
    /// again, the previous values hold again.
    withdrawn: HashMap<ServiceName, Vec<Setting>>,
}

/// A service that may have changed.
pub(super) struct Touched {
    pub(super) name: ServiceName,
    /// The service before, if the brake is to compare it.
    before: Option<Arc<Service>>,
}

impl Touched {
    fn by_removal(name: ServiceName) -> Self {
        Self { name, before: None }
    }
}

impl Merge {
    pub(super) fn new(source_names: impl Iterator<Item = Arc<str>>) -> Self {
        let sources: Vec<_> = source_names
            .map(|name| Source {
                name,
                synced: false,
                known: HashMap::new(),
                unconfirmed: Unconfirmed::default(),
                withdrawn: HashMap::new(),
            })
            .collect();
        let name_index = Arc::new(NameIndex::new(sources.len()));
        Self {
            sources,
            brakes: Brakes::default(),
            interner: Interner::new(),
            name_index,
            standing: Standing::default(),
            fallbacks: Fallbacks::default(),
        }
    }

    /// Its readers are on this node.
    pub(super) fn on_node(&mut self, node: Option<Arc<str>>) {
        self.standing = Standing::Node(node);
    }

    pub(super) fn name_index(&self) -> &Arc<NameIndex> {
        &self.name_index
    }

    pub(super) fn name(&self, source: SourceId) -> Arc<str> {
        self.sources[source.0].name.clone()
    }

    pub(super) fn unconfirmed(&self, source: SourceId) -> Vec<ServiceName> {
        self.sources[source.0].unconfirmed.names()
    }

    /// Applies a change that a source told.
    pub(super) fn take(&mut self, source: SourceId, change: Change) -> Vec<Touched> {
        match change {
            Change::Replace(services) => self.replace(source.0, services),
            Change::Upsert(service) => self.upsert(source.0, service).into_iter().collect(),
            Change::Remove(name) => {
                self.name_index.remove(source.0, &name);
                self.sources[source.0].withdrawn.remove(&name);
                vec![self.drop_known(source.0, name)]
            }
            Change::Withdraw(name) => {
                let Source { known, withdrawn, .. } = &mut self.sources[source.0];
                if let Some(service) = known.get(&name)
                    && service.settings.iter().any(|setting| setting.wrong.is_some())
                {
                    withdrawn.insert(name.clone(), service.settings.clone());
                }
                vec![self.drop_known(source.0, name)]
            }
            Change::Names(names) => self.names(source.0, names),
            Change::Name(mut name) => {
                self.interner.share_name(&mut name);
                let new = self.name_index.add(source.0, name.clone());
                new.then(|| Touched::by_removal(name)).into_iter().collect()
            }
            Change::Synced => {
                let (index, name_index) = (source.0, &self.name_index);
                let source = &mut self.sources[index];
                source.synced = true;
                let gone = source.unconfirmed.drain(|name| name_index.has(index, name));
                gone.iter().for_each(|name| drop(source.known.remove(name)));
                gone.into_iter().map(Touched::by_removal).collect()
            }
        }
    }

    /// Adds services of an earlier run whose source has not answered yet. `wall`: the wall clock, by
    /// which they were confirmed.
    pub(super) fn restore(
        &mut self,
        services: Vec<LastGood>,
        wall: SystemTime,
        now: Duration,
    ) -> Vec<Touched> {
        let mut touched = Vec::with_capacity(services.len());
        for LastGood { service, source, confirmed } in services {
            let source = &mut self.sources[source.0];
            if source.synced || source.known.contains_key(&service.name) {
                continue;
            }
            let mut service = Arc::unwrap_or_clone(service);
            validate::mend(&mut service);
            self.interner.share(&mut service);
            let name = service.name.clone();
            let confirmed = confirmed.unwrap_or(wall);
            // If the clock was set back, the age is 0, not negative.
            let age = wall.duration_since(confirmed).unwrap_or_default();
            source.unconfirmed.add(name.clone(), confirmed, age, now);
            source.known.insert(name.clone(), Arc::new(service));
            touched.push(Touched::by_removal(name));
        }
        touched
    }

    /// The services to keep for the next run, each as its owner tells it.
    pub(super) fn last_good(&self) -> Vec<LastGood> {
        let mut kept: HashMap<&ServiceName, LastGood> = HashMap::new();
        for (index, source) in self.sources.iter().enumerate() {
            for (name, service) in &source.known {
                kept.entry(name).or_insert_with(|| LastGood {
                    service: match service.all_eligible() {
                        true => service.clone(),
                        false => Arc::new(service.with_eligible_endpoints()),
                    },
                    source: SourceId(index),
                    confirmed: source.unconfirmed.confirmed(name),
                });
            }
        }
        kept.into_values().collect()
    }

    /// Makes a service share its strings with other services.
    pub(super) fn share(&mut self, service: &mut Service) {
        self.interner.share(service);
    }

    fn drop_known(&mut self, source: usize, name: ServiceName) -> Touched {
        let source = &mut self.sources[source];
        source.known.remove(&name);
        source.unconfirmed.settle(&name);
        Touched::by_removal(name)
    }

    fn names(&mut self, source: usize, mut names: Vec<ServiceName>) -> Vec<Touched> {
        names.iter_mut().for_each(|name| self.interner.share_name(name));
        let names: HashSet<ServiceName> = names.into_iter().collect();
        let Source { known, withdrawn, .. } = &mut self.sources[source];
        withdrawn.retain(|name, _| names.contains(name));
        let unnamed: Vec<_> = known.keys().filter(|name| !names.contains(name)).cloned().collect();
        // Another source may have owned them so far.
        let named: Vec<_> =
            names.iter().filter(|name| !known.contains_key(name)).cloned().collect();
        let gone = self.name_index.replace(source, names).into_iter().chain(named);
        let mut touched: Vec<Touched> = gone.map(Touched::by_removal).collect();
        touched.extend(unnamed.into_iter().map(|name| self.drop_known(source, name)));
        touched
    }

    fn replace(&mut self, source: usize, services: Vec<Service>) -> Vec<Touched> {
        let mut old = std::mem::take(&mut self.sources[source].known);
        let mut touched = Vec::new();
        for service in services {
            // An equal service keeps its strings and takes no more memory.
            if let Some((name, before)) = old.remove_entry(&service.name) {
                self.sources[source].known.insert(name, before);
            }
            touched.extend(self.upsert(source, service));
        }
        let source = &mut self.sources[source];
        for (name, before) in old {
            // An incomplete answer (one of two files can't be read) says nothing about the rest.
            if !source.synced && source.unconfirmed.contains(&name) {
                source.known.insert(name, before);
            } else {
                source.unconfirmed.settle(&name);
                touched.push(Touched::by_removal(name));
            }
        }
        touched
    }

    fn upsert(&mut self, source: usize, mut service: Service) -> Option<Touched> {
        validate::mend(&mut service);
        self.standing.apply(&mut service);
        let unconfirmed = self.sources[source].unconfirmed.settle(&service.name);
        let Source { known, withdrawn, .. } = &mut self.sources[source];
        let withdrawn = withdrawn.remove(&service.name);
        let settings = known.get(&service.name).map(|before| &before.settings);
        previous_value::remember(
            &mut service.settings,
            settings.or(withdrawn.as_ref()).map(Vec::as_slice),
        );
        let before = known.get(&service.name).cloned().filter(|_| !unconfirmed);
        if before.as_ref().is_some_and(|before| **before == service) {
            return None;
        }
        self.interner.share(&mut service);
        let name = service.name.clone();
        known.insert(name.clone(), Arc::new(service));
        let owns = self.owner(&name) == Some(source);
        Some(Touched { name, before: before.filter(|_| owns) })
    }

    /// The service as it is served, and whether the brake took hold anew.
    pub(super) fn merged(&mut self, touched: &Touched, now: Duration) -> (Option<Service>, bool) {
        let name = &touched.name;
        let owner = self.owner(name);
        // Only its name may be known.
        let known = owner.and_then(|owner| Some((owner, self.sources[owner].known.get(name)?)));
        let Some((owner, service)) = known else {
            self.brakes.release(name);
            self.fallbacks.set(name, &[]);
            return (None, false);
        };
        self.fallbacks.set(name, &service.fallback);
        self.brakes.release_of_others(name, owner);
        let mut triggered = false;
        if let Some(before) = &touched.before
            && !service.source_brakes
        {
            triggered = self.brakes.observe(owner, before, service, now);
        }
        let mut service = service.with_eligible_endpoints();
        service.stale |= self.sources[owner].unconfirmed.is_stale(name);
        let mut service = self.brakes.hold(service);
        fallback::add(&mut service, self.fallbacks.of(name), |fallback| self.alone(fallback));
        (Some(service), triggered)
    }

    /// A service without its fallbacks.
    fn alone(&self, name: &ServiceName) -> Option<Service> {
        let known = &self.sources[self.owner(name)?].known;
        Some(self.brakes.hold(known.get(name)?.with_eligible_endpoints()))
    }

    /// Adds the services that have one of these as a fallback.
    pub(super) fn with_those_that_fall_back(&self, mut touched: Vec<Touched>) -> Vec<Touched> {
        let others = touched.iter().flat_map(|it| self.fallbacks.named_by(&it.name)).cloned();
        let others: BTreeSet<ServiceName> = others.collect();
        touched.extend(others.into_iter().map(Touched::by_removal));
        touched
    }

    /// Whether this service stands in for one that callers ask for.
    pub(super) fn stands_in(
        &self,
        name: &ServiceName,
        asked: impl Fn(&ServiceName) -> bool,
    ) -> bool {
        self.fallbacks.named_by(name).any(asked)
    }

    fn owner(&self, name: &ServiceName) -> Option<usize> {
        let known = self.sources.iter().position(|source| source.known.contains_key(name));
        let named = self.name_index.owner(name);
        known.into_iter().chain(named).min()
    }

    /// The sources that have not told all they know yet.
    pub(super) fn unsynced(&self) -> Vec<Arc<str>> {
        self.sources.iter().filter(|s| !s.synced).map(|s| s.name.clone()).collect()
    }

    /// Ends the holds that are over, and marks stale services.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Touched> {
        let over = self.brakes.tick(now).into_iter();
        let stale = self.sources.iter_mut().flat_map(|source| source.unconfirmed.tick(now));
        over.chain(stale).map(Touched::by_removal).collect()
    }

    /// A connection to an endpoint of a service failed, which may be one of its fallback.
    pub(super) fn connection_failed(
        &mut self,
        name: &ServiceName,
        address: SocketAddr,
    ) -> Vec<Touched> {
        let mut of: Vec<ServiceName> = self.fallbacks.of(name).to_vec();
        of.push(name.clone());
        of.retain(|name| self.brakes.connection_failed(name, address));
        of.into_iter().map(Touched::by_removal).collect()
    }

    /// The number of endpoints that the brake holds, and when the next hold ends or the next
    /// service becomes stale.
    pub(super) fn held(&self) -> (usize, Option<Duration>) {
        let stale = self.sources.iter().filter_map(|source| source.unconfirmed.deadline());
        let deadline = self.brakes.deadline().into_iter().chain(stale).min();
        (self.brakes.held(), deadline)
    }
}
