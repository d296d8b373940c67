//! What looks at the names of all services: lists that are told page by page, and near misses.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Catalog, sorted_names::SortedNames};
use crate::catalog::{ServiceName, similar_names::similar_services};

impl Catalog {
    /// The names of all services in order, if nothing has to be done for them.
    pub fn sorted_names(&self) -> Option<Arc<[ServiceName]>> {
        let sorted = self.sorted.load();
        (sorted.version == self.names_version()).then(|| sorted.names.clone())
    }

    /// The same after other services have come or gone. For 10,000 of them it takes some milliseconds,
    /// which is not for a thread that serves.
    pub fn sort_names(&self) -> Arc<[ServiceName]> {
        if let Some(names) = self.sorted_names() {
            return names;
        }
        // In this order, what changes meanwhile is sorted anew the next time.
        let version = self.names_version();
        let (snapshot, named) = (self.snapshot.load_full(), self.name_index.all());
        let all = snapshot.keys().chain(named.iter().flat_map(|names| names.iter()));
        let mut names: Vec<ServiceName> = all.cloned().collect();
        names.sort_unstable();
        names.dedup();
        let names: Arc<[ServiceName]> = names.into();
        self.sorted.store(Arc::new(SortedNames { version, names: names.clone() }));
        names
    }

    /// The source that has a service of which only the name is known.
    pub fn source_of(&self, name: &ServiceName) -> Option<Arc<str>> {
        self.name_index.owner(name).and_then(|source| self.sources.get(source).cloned())
    }

    /// What was probably meant by a name that nothing has, of the services that `visible` lets
    /// through. It looks at every service there is, which is not for a thread that serves: a tenth of a
    /// millisecond or more for a thousand of them.
    pub fn near(
        &self,
        asked: &ServiceName,
        visible: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let (snapshot, named) = (self.snapshot.load_full(), self.name_index.all());
        let all = snapshot.keys().chain(named.iter().flat_map(|names| names.iter()));
        similar_services(asked, all, visible)
    }

    /// A number that grows when other services are there than before, whatever is in them.
    pub fn names_version(&self) -> u64 {
        self.names_version.load(Relaxed)
    }
}
