//! Looks a caller's name up, now or as soon as a source has answered.

use std::time::Duration;

use super::Catalog;
use crate::catalog::{
    Account, LookupError,
    lookup::{self, Found},
    name::ServiceRef,
};

impl Catalog {
    /// The service and port that a name means, as they are now.
    pub fn lookup(&self, asked: &ServiceRef) -> Result<Found, LookupError> {
        self.lookup_by(None, asked)
    }

    /// Like [`Self::lookup`], with the account that an interest in the service counts against.
    pub fn lookup_by(&self, by: Account, asked: &ServiceRef) -> Result<Found, LookupError> {
        // In this order: a source tells its services before it tells that these are all.
        let unsynced = self.unsynced.load();
        let snapshot = self.snapshot.load();
        let name = &asked.service;
        let on_demand = match self.interests.renew(name) {
            true => Ok(true),
            false => self.ask_if_named(by, name),
        };
        if self.interests.has_callers_now(name) {
            self.ask_for_fallbacks(std::slice::from_ref(name));
        }
        match snapshot.get(name) {
            Some(service) => lookup::port(service, asked.port.as_ref()),
            None if on_demand == Ok(true) => Err(self.awaited(name)),
            None if let Err(exhausted) = on_demand => {
                Err(LookupError::NotAsked { service: name.clone(), exhausted })
            }
            None if unsynced.is_empty() => {
                Err(LookupError::NoSuchService { asked: asked.service.clone(), near: Vec::new() })
            }
            None => Err(LookupError::NotSynced { sources: self.excused(&unsynced) }),
        }
    }

    /// Like [`Self::lookup`], but waits for the sources' first answer.
    pub async fn lookup_wait(
        &self,
        asked: &ServiceRef,
        at_most: Duration,
    ) -> Result<Found, LookupError> {
        self.lookup_wait_by(None, asked, at_most).await
    }

    /// Like [`Self::lookup_by`], but waits for the sources' first answer.
    pub async fn lookup_wait_by(
        &self,
        by: Account,
        asked: &ServiceRef,
        at_most: Duration,
    ) -> Result<Found, LookupError> {
        let waits = |found: &Result<Found, LookupError>| {
            matches!(found, Err(LookupError::NotSynced { .. } | LookupError::Awaited { .. }))
        };
        // The answer is nearly always known already.
        let found = self.lookup_by(by, asked);
        if !waits(&found) {
            return found;
        }
        let mut generation = self.generation.subscribe();
        let settled = async {
            loop {
                let found = self.lookup_by(by, asked);
                if !waits(&found) {
                    return found;
                }
                if generation.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(at_most, settled).await.unwrap_or_else(|_| self.lookup_by(by, asked))
    }
}
