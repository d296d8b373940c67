//! How far the watches of all objects have read, for clients of a control plane.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::api_error::Resource;
use crate::catalog::{
    Catalog, SourceId,
    progress::{Progresses, Telling, Versions},
};

/// The versions that each watch has read.
pub(super) struct ReadUpTo {
    catalog: Arc<Catalog>,
    source: SourceId,
    /// The cluster, by what two that read it have in common.
    origin: Arc<str>,
    versions: Mutex<BTreeMap<&'static str, Versions>>,
}

impl ReadUpTo {
    pub(super) fn new(catalog: Arc<Catalog>, source: SourceId, origin: Arc<str>) -> Self {
        Self { catalog, source, origin, versions: Mutex::default() }
    }

    /// A list of this version was read, of which the newest object has the version `newest`. What was deleted before
    /// does not show in it.
    pub(super) fn listed(&self, resource: Resource, version: &str, newest: u64) {
        // A version that is no number can't be compared.
        let Ok(read) = version.parse() else { return };
        let mut versions = self.versions();
        let before = versions.get(resource.plural()).map_or(0, |before| before.changed);
        // A cluster that was restored counts from an earlier number.
        let changed = if before <= read { before.max(newest) } else { newest };
        versions.insert(resource.plural(), Versions { read, changed });
    }

    /// This change was read.
    pub(super) fn changed(&self, resource: Resource, version: &str) {
        if let Ok(version) = version.parse() {
            let versions = Versions { read: version, changed: version };
            self.versions().insert(resource.plural(), versions);
        }
    }

    /// Nothing of this kind has changed up to this version.
    pub(super) fn unchanged(&self, resource: Resource, version: &str) {
        if let Ok(read) = version.parse() {
            self.versions().entry(resource.plural()).or_default().read = read;
        }
    }

    /// The catalog is being told what was read, until this is dropped.
    pub(super) fn telling(&self) -> Telling<'_> {
        self.progress().telling()
    }

    /// The catalog has been told all that was read.
    pub(super) fn told(&self) {
        for (kind, versions) in &*self.versions() {
            self.progress().report(self.source, &self.origin, kind, *versions);
        }
    }

    fn progress(&self) -> &Progresses {
        self.catalog.progress()
    }

    fn versions(&self) -> MutexGuard<'_, BTreeMap<&'static str, Versions>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
