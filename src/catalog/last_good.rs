//! Services of an earlier run, until their source answers.
//!
//! They serve at once, so that neither a restart nor an unreachable source empties a node. But no
//! source has confirmed them in this run: they do not make the agent ready, the brake does not
//! count them, and the first full answer of their source decides which of them stay.

use std::{
    collections::HashMap,
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
        self.services.insert(name, Since { confirmed, stale_at, stale: stale_at <= now });
    }

    /// The source told the service, or dropped it. Returns true if it was unconfirmed.
    pub(super) fn settle(&mut self, name: &ServiceName) -> bool {
        self.services.remove(name).is_some()
    }

    pub(super) fn contains(&self, name: &ServiceName) -> bool {
        self.services.contains_key(name)
    }

    /// Removes and returns the services that a source lacks, once it has told all it knows. `has`:
    /// it knows the service by name, and has not been asked for it.
    pub(super) fn drain(&mut self, has: impl Fn(&ServiceName) -> bool) -> Vec<ServiceName> {
        self.services.extract_if(|name, _| !has(name)).map(|(name, _)| name).collect()
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
        let turned = |(name, since): (&ServiceName, &mut Since)| {
            let turns = !since.stale && since.stale_at <= now;
            since.stale |= turns;
            turns.then(|| name.clone())
        };
        self.services.iter_mut().filter_map(turned).collect()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.services.values().filter(|since| !since.stale).map(|since| since.stale_at).min()
    }
}

#[cfg(test)]
mod tests;
