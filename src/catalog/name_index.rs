//! Which services there are, of a source that says of most no more than their names.
//!
//! A node's programs call a few of a cluster's services. So a source may say the names of all and
//! the endpoints of those that are asked for (see [`super::interest`]): a name that is none is
//! answered at once, and one that is leads to a question.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::name::ServiceName;

/// Of one source; shared with whoever looks through all of them, which takes too long for a lock.
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

    /// These and no others. Returns those that are gone.
    pub(super) fn replace(&self, source: usize, names: HashSet<ServiceName>) -> Vec<ServiceName> {
        let now = Arc::new(names);
        let before = std::mem::replace(&mut self.write()[source], Arc::clone(&now));
        before.difference(&now).cloned().collect()
    }

    /// True: it is new.
    pub(super) fn add(&self, source: usize, name: ServiceName) -> bool {
        self.change(source, |names| names.insert(name))
    }

    /// True: it was there.
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
        // Somebody looks through them: that takes a copy, for which no reader should wait. Nobody else
        // writes meanwhile.
        let mut names = (*self.read()[source]).clone();
        let changed = change(&mut names);
        self.write()[source] = Arc::new(names);
        changed
    }

    /// All names as they are now, by source; no lock is held for as long as they are looked through.
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
