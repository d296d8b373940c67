//! What a source says on demand: who asks, what is waited for, and the names that are known without
//! what is in them.

use std::{collections::HashSet, sync::Arc};

use super::{Catalog, SourceId, lock};
use crate::catalog::{Interest, Interests, LookupError, ServiceName, merge::Touched};

impl Catalog {
    pub(super) fn ask_if_named(&self, name: &ServiceName) -> bool {
        let named = self.directory.owner(name).is_some();
        if named {
            self.interests.ask(name);
        }
        named
    }

    pub(super) fn awaited(&self, name: &ServiceName) -> LookupError {
        LookupError::Awaited { service: name.clone(), why: self.interests.awaited(name) }
    }

    /// What somebody wants to know of: for sources that answer on demand.
    pub fn interests(&self) -> &Interests {
        &self.interests
    }

    /// To keep a service asked for without a lookup; none where no source answers on demand.
    pub fn interest(&self, name: &ServiceName) -> Option<Interest> {
        self.interests.get(name)
    }

    /// Leaves word of why a source has not yet said what it knows, for those who wait.
    pub fn excuse(&self, source: SourceId, why: Option<Arc<str>>) {
        let name = self.writer().merge.name(source);
        let mut excuses = lock(&self.excuses);
        match why {
            Some(why) => excuses.insert(name, why),
            None => excuses.remove(&name),
        };
    }

    /// These sources, each with its excuse.
    pub(super) fn excused(&self, sources: &[Arc<str>]) -> Vec<Arc<str>> {
        let excuses = lock(&self.excuses);
        let with = |name: &Arc<str>| match excuses.get(name) {
            Some(why) => format!("{name} ({why})").into(),
            None => name.clone(),
        };
        sources.iter().map(with).collect()
    }

    /// Whether this source has such a service, whatever it says of it.
    pub fn has(&self, source: SourceId, name: &ServiceName) -> bool {
        self.directory.has(source.0, name)
    }

    /// Services of an earlier run that this source has not yet confirmed.
    pub fn unconfirmed(&self, source: SourceId) -> Vec<ServiceName> {
        self.writer().merge.unconfirmed(source)
    }

    /// Services of which only the names are known (of one namespace), each with its source.
    pub fn named(&self, namespace: Option<&str>) -> Vec<(ServiceName, Arc<str>)> {
        let mut found: Vec<(ServiceName, usize)> = Vec::new();
        let (named, snapshot) = (self.directory.all(), self.snapshot.load());
        let mut seen = HashSet::new();
        for (source, names) in named.iter().enumerate() {
            let wanted = |name: &&ServiceName| {
                namespace.is_none_or(|wanted| *name.namespace == *wanted)
                    && !snapshot.contains_key(*name)
            };
            let new = names.iter().filter(wanted).filter(|name| seen.insert(*name));
            found.extend(new.map(|name| (name.clone(), source)));
        }
        let writer = self.writer();
        found.into_iter().map(|(name, at)| (name, writer.merge.name(SourceId(at)))).collect()
    }

    /// Nobody waits for what is no more; true where somebody did.
    pub(super) fn forget_gone(&self, touched: &[Touched]) -> bool {
        let gone = |touched: &&Touched| self.directory.owner(&touched.name).is_none();
        let forget = |touched: &Touched| self.interests.forget(&touched.name);
        touched.iter().filter(gone).filter(|touched| forget(touched)).count() > 0
    }
}

#[cfg(test)]
mod tests;
