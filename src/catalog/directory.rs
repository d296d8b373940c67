//! Which services there are, of a source that says of most no more than their names.
//!
//! A node's programs call a few of a cluster's services. So a source may say the names of all and
//! the endpoints of those that are asked for (see [`super::interest`]): a name that is none is
//! answered at once, and one that is leads to a question.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::name::ServiceName;

/// Names by source, in the order of the sources. Written under the catalog's mutex, read without.
#[derive(Debug)]
pub(super) struct Directory {
    names: RwLock<Vec<HashSet<ServiceName>>>,
}

impl Directory {
    pub(super) fn new(sources: usize) -> Self {
        Self { names: RwLock::new(vec![HashSet::new(); sources]) }
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
        let mut before = std::mem::replace(&mut self.write()[source], names);
        let now = self.read();
        before.retain(|name| !now[source].contains(name));
        before.into_iter().collect()
    }

    /// True: it is new.
    pub(super) fn add(&self, source: usize, name: ServiceName) -> bool {
        self.write()[source].insert(name)
    }

    /// True: it was there.
    pub(super) fn remove(&self, source: usize, name: &ServiceName) -> bool {
        self.write()[source].remove(name)
    }

    /// All names, by source.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Vec<HashSet<ServiceName>>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<HashSet<ServiceName>>> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}
