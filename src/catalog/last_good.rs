//! Services of an earlier run, until their source answers.
//!
//! They serve at once, so that neither a restart nor an unreachable source empties a node. But no
//! source has confirmed them in this run: they do not make the agent ready, the brake does not
//! count them, and the first full answer of their source decides which of them stay.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{change::SourceId, model::Service, name::ServiceName};

/// A service is marked stale if its source has not confirmed it for this long. Range 1 min to 1 day.
pub const STALE_AFTER: Duration = Duration::from_secs(600);

/// A service as it outlives a run of the agent.
#[derive(Clone, Debug)]
pub struct LastGood {
    /// The service with its eligible endpoints.
    pub service: Arc<Service>,
    /// Its source.
    pub source: SourceId,
    /// When the source last confirmed it; None: it does so now.
    pub confirmed: Option<SystemTime>,
}

/// The services that a source has not confirmed in this run.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    services: HashMap<ServiceName, Since>,
    /// Those that are not stale yet, by the time at which they become so.
    fresh: BTreeSet<(Duration, ServiceName)>,
}

#[derive(Debug)]
struct Since {
    confirmed: SystemTime,
    stale_at: Duration,
    stale: bool,
}

impl Unconfirmed {
    /// `age`: how long ago it was confirmed.
    pub(super) fn add(
        &mut self,
        name: ServiceName,
        confirmed: SystemTime,
        age: Duration,
        now: Duration,
    ) {
        let stale_at = (now + STALE_AFTER).saturating_sub(age);
        let stale = stale_at <= now;
        if !stale {
            self.fresh.insert((stale_at, name.clone()));
        }
        self.services.insert(name, Since { confirmed, stale_at, stale });
    }

    /// The source told the service, or dropped it. Returns true if it was unconfirmed.
    pub(super) fn settle(&mut self, name: &ServiceName) -> bool {
        let Some(since) = self.services.remove(name) else { return false };
        if !since.stale {
            self.fresh.remove(&(since.stale_at, name.clone()));
        }
        true
    }

    pub(super) fn contains(&self, name: &ServiceName) -> bool {
        self.services.contains_key(name)
    }

    /// Removes and returns the services that a source lacks, once it has told all it knows. `has`:
    /// it knows the service by name, and has not been asked for it.
    pub(super) fn drain(&mut self, has: impl Fn(&ServiceName) -> bool) -> Vec<ServiceName> {
        let gone: Vec<_> = self.services.keys().filter(|name| !has(name)).cloned().collect();
        for name in &gone {
            self.settle(name);
        }
        gone
    }

    pub(super) fn names(&self) -> Vec<ServiceName> {
        self.services.keys().cloned().collect()
    }

    pub(super) fn is_stale(&self, name: &ServiceName) -> bool {
        self.services.get(name).is_some_and(|since| since.stale)
    }

    pub(super) fn confirmed(&self, name: &ServiceName) -> Option<SystemTime> {
        self.services.get(name).map(|since| since.confirmed)
    }

    /// Marks stale what is due, and returns it.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<ServiceName> {
        let mut turned = Vec::new();
        while self.fresh.first().is_some_and(|(stale_at, _)| *stale_at <= now)
            && let Some((_, name)) = self.fresh.pop_first()
        {
            self.services.entry(name.clone()).and_modify(|since| since.stale = true);
            turned.push(name);
        }
        turned
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.fresh.first().map(|(stale_at, _)| *stale_at)
    }
}

#[cfg(test)]
mod tests;
