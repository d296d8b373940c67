//! What goes over the names of all services: lists that come page by page, and similar names.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Catalog, sorted_names::SortedNames};
use crate::catalog::{ServiceName, similar_names::similar_services};

impl Catalog {
    /// The names of all services in order, if they are sorted already.
    pub fn sorted_names(&self) -> Option<Arc<[ServiceName]>> {
        let sorted = self.sorted.load();
        (sorted.version == self.names_version()).then(|| sorted.names.clone())
    }

    /// Sorts the names of all services. For 10,000 services this takes some milliseconds, too long
    /// for a thread that serves.
    pub fn sort_names(&self) -> Arc<[ServiceName]> {
        if let Some(names) = self.sorted_names() {
            return names;
        }
        // The version is read first, so that a change in between leads to a new sort next time.
        let version = self.names_version();
        let (snapshot, named) = (self.snapshot.load_full(), self.name_index.all());
        let all = snapshot
            .iter()
            .map(|service| &service.name)
            .chain(named.iter().flat_map(|names| names.iter()));
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

    /// Services whose names resemble an unknown one, of those that are `visible`. It looks at every
    /// service: a tenth of a millisecond or more for a thousand, too long for a thread that serves.
    pub fn near(
        &self,
        asked: &ServiceName,
        visible: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let (snapshot, named) = (self.snapshot.load_full(), self.name_index.all());
        let all = snapshot
            .iter()
            .map(|service| &service.name)
            .chain(named.iter().flat_map(|names| names.iter()));
        similar_services(asked, all, visible)
    }

    /// Grows when the set of services changes.
    pub fn names_version(&self) -> u64 {
        self.names_version.load(Relaxed)
    }
}
