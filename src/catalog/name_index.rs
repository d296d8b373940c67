//! The names of services whose endpoints are not known.
//!
//! A node's programs call a few of a cluster's services. So a source may tell the names of all
//! services, and the endpoints only of those that callers ask for (see [`super::interest`]). An
//! unknown name is then refused at once, and a known one makes the source ask for its endpoints.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::name::ServiceName;

/// The names of one source. Shared, since going over all of them takes too long for a lock.
type Names = Arc<HashSet<ServiceName>>;

/// Names by source, in the order of the sources. Written under the catalog's mutex, read without.
#[derive(Debug)]
pub(super) struct NameIndex {
    names: RwLock<Vec<Names>>,
}

impl NameIndex {
    pub(super) fn new(sources: usize) -> Self {
        Self { names: RwLock::new(vec![Names::default(); sources]) }
    }

    /// The first source that has such a service.
    pub(super) fn owner(&self, name: &ServiceName) -> Option<usize> {
        self.read().iter().position(|names| names.contains(name))
    }

    pub(super) fn has(&self, source: usize, name: &ServiceName) -> bool {
        self.read()[source].contains(name)
    }

    /// Replaces all names of a source. Returns those that are gone.
    pub(super) fn replace(&self, source: usize, names: HashSet<ServiceName>) -> Vec<ServiceName> {
        let now = Arc::new(names);
        let before = std::mem::replace(&mut self.write()[source], Arc::clone(&now));
        before.difference(&now).cloned().collect()
    }

    /// Returns true if the name is new.
    pub(super) fn add(&self, source: usize, name: ServiceName) -> bool {
        self.change(source, |names| names.insert(name))
    }

    /// Returns true if the name was there.
    pub(super) fn remove(&self, source: usize, name: &ServiceName) -> bool {
        self.has(source, name) && self.change(source, |names| names.remove(name))
    }

    fn change(
        &self,
        source: usize,
        change: impl FnOnce(&mut HashSet<ServiceName>) -> bool,
    ) -> bool {
        let mut all = self.write();
        if let Some(names) = Arc::get_mut(&mut all[source]) {
            return change(names);
        }
        drop(all);
        // Another thread reads the set, so it is copied, without a lock that readers would wait
        // for. There is no other writer.
        let mut names = (*self.read()[source]).clone();
        let changed = change(&mut names);
        self.write()[source] = Arc::new(names);
        changed
    }

    /// All names as they are now, by source. The caller holds no lock while it goes over them.
    pub(super) fn all(&self) -> Vec<Names> {
        self.read().clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Names>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Names>> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}
