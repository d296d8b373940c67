//! What a source says on demand: who asks, what is waited for, and the names that are known without
//! what is in them.

use std::{sync::Arc, time::Duration};

use super::{Catalog, lock};
use crate::{
    catalog::{
        Account, Change, Interest, Interests, LookupError, ServiceName, SourceId, merge::Touched,
    },
    quota::Exhausted,
};

impl Catalog {
    /// True: there is such a service, and its source is asked for its endpoints.
    pub(super) fn ask_if_named(&self, by: Account, name: &ServiceName) -> Result<bool, Exhausted> {
        let named = self.name_index.owner(name).is_some();
        if named {
            self.interests.ask(by, name)?;
        }
        // It may have gone just before it was asked for: then nobody else ends the interest in it.
        if named && self.name_index.owner(name).is_none() {
            self.interests.forget(name);
            return Ok(false);
        }
        Ok(named)
    }

    /// Takes in what a source says of a service for as long as it is asked for by this interest. Nothing
    /// is taken in once that has ended: the service is gone, whatever was said of it before, or somebody
    /// has asked for it anew, and the answer to that counts.
    pub fn answer(&self, source: SourceId, interest: &Interest, change: Change, now: Duration) {
        let writer = self.writer();
        // Under the writer's lock, under which an interest in what is gone ends.
        let counts = match &change {
            Change::Upsert(service) => self.interests.holds(&service.name, interest),
            // It ends before this is said, where nobody asks any more.
            Change::Withdraw(name) => {
                self.interests.holds(name, interest) || self.interests.get(name).is_none()
            }
            _ => true,
        };
        if counts {
            self.take_in(writer, source, change, now);
        } else {
            drop(writer);
            // Whoever kept the interest that has ended has to look for the one of now.
            self.announce(&[], true);
        }
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
        self.name_index.has(source.0, name)
    }

    /// Services of an earlier run that this source has not yet confirmed.
    pub fn unconfirmed(&self, source: SourceId) -> Vec<ServiceName> {
        self.writer().merge.unconfirmed(source)
    }

    /// Nobody waits for what is no more; true where somebody did.
    pub(super) fn forget_gone(&self, touched: &[Touched]) -> bool {
        let gone = |touched: &&Touched| self.name_index.owner(&touched.name).is_none();
        let forget = |touched: &Touched| self.interests.forget(&touched.name);
        touched.iter().filter(gone).filter(|touched| forget(touched)).count() > 0
    }
}

#[cfg(test)]
mod tests;
