//! Services that a source tells on demand: which are asked for, what their source waits for, and
//! which are known by name only.

use std::{sync::Arc, time::Duration};

use super::{Catalog, lock};
use crate::{
    catalog::{
        Account, Change, Interest, Interests, LookupError, ServiceName, SourceId, merge::Touched,
    },
    quota::Exhausted,
};

impl Catalog {
    /// Asks for a service if a source knows its name. Returns whether one does.
    pub(super) fn ask_if_named(&self, by: Account, name: &ServiceName) -> Result<bool, Exhausted> {
        let named = self.name_index.owner(name).is_some();
        if named {
            self.interests.ask(by, name)?;
        }
        // If the service went just before, nobody else would end this interest.
        if named && self.name_index.owner(name).is_none() {
            self.interests.forget(name);
            return Ok(false);
        }
        Ok(named)
    }

    /// Applies a change of a service while this interest in it lasts. After that the change is
    /// ignored: either the service is gone, or a newer interest has its own answers.
    pub fn answer(&self, source: SourceId, interest: &Interest, change: Change, now: Duration) {
        let writer = self.writer();
        // Under the writer's lock, since interests in removed services end under it.
        let counts = match &change {
            Change::Upsert(service) => self.interests.holds(&service.name, interest),
            // An expired interest ends before its source withdraws the service.
            Change::Withdraw(name) => {
                self.interests.holds(name, interest) || self.interests.get(name).is_none()
            }
            _ => true,
        };
        if counts {
            self.take_in(writer, source, [change], now);
        } else {
            drop(writer);
            // Holders of the ended interest must look for the current one.
            self.announce(&[], true);
        }
    }

    /// Asks for the fallbacks of services that callers ask for, on the account of the same caller, and no
    /// further. Those that exceed its quota stay unknown.
    pub(super) fn ask_for_fallbacks(&self, changed: &[ServiceName]) {
        for name in changed {
            let Some(service) = self.get(name).filter(|it| !it.fallback.is_empty()) else {
                continue;
            };
            let Some(by) = self.interests.account(name) else { continue };
            for fallback in service.fallback.iter().filter(|fallback| *fallback != name) {
                if self.name_index.owner(fallback).is_some() {
                    self.interests.ask_for_another(by, fallback).ok();
                }
            }
        }
    }

    /// Ends the interest in a service that nobody asked for since the last call, and that has no open
    /// request, unless it is the fallback of another one that callers ask for. Returns true if it ended.
    pub fn expire_interest(&self, name: &ServiceName) -> bool {
        let by_callers = |other: &ServiceName| self.interests.account(other).is_some();
        let stands_in = self.writer().merge.stands_in(name, by_callers);
        self.interests.expire_unless(name, stands_in)
    }

    pub(super) fn awaited(&self, name: &ServiceName) -> LookupError {
        LookupError::Awaited { service: name.clone(), why: self.interests.awaited(name) }
    }

    /// The services that callers ask for, for sources that answer on demand.
    pub fn interests(&self) -> &Interests {
        &self.interests
    }

    /// The interest in a service, to renew it without a lookup. None: no source answers on demand.
    pub fn interest(&self, name: &ServiceName) -> Option<Interest> {
        self.interests.get(name)
    }

    /// Records why a source has not answered yet, for callers that wait.
    pub fn excuse(&self, source: SourceId, why: Option<Arc<str>>) {
        let name = self.writer().merge.name(source);
        let mut excuses = lock(&self.excuses);
        match why {
            Some(why) => excuses.insert(name, why),
            None => excuses.remove(&name),
        };
    }

    /// These sources, each with its reason for not answering.
    pub(super) fn excused(&self, sources: &[Arc<str>]) -> Vec<Arc<str>> {
        let excuses = lock(&self.excuses);
        let with = |name: &Arc<str>| match excuses.get(name) {
            Some(why) => format!("{name} ({why})").into(),
            None => name.clone(),
        };
        sources.iter().map(with).collect()
    }

    /// The sources that have not told all they know yet, each with its reason.
    pub fn unanswered(&self) -> Vec<Arc<str>> {
        self.excused(&self.unsynced())
    }

    /// Whether this source knows a service by name.
    pub fn has(&self, source: SourceId, name: &ServiceName) -> bool {
        self.name_index.has(source.0, name)
    }

    /// Services of an earlier run that this source has not yet confirmed.
    pub fn unconfirmed(&self, source: SourceId) -> Vec<ServiceName> {
        self.writer().merge.unconfirmed(source)
    }

    /// Ends the interests in services that are gone. Returns true if there was one.
    pub(super) fn forget_gone(&self, touched: &[Touched]) -> bool {
        let gone = |touched: &&Touched| self.name_index.owner(&touched.name).is_none();
        let forget = |touched: &Touched| self.interests.forget(&touched.name);
        touched.iter().filter(gone).filter(|touched| forget(touched)).count() > 0
    }
}

#[cfg(test)]
mod tests;
