//! Takes over leases of the agent before this one.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;

use super::Agent;
use crate::{
    catalog::{LookupError, ServiceName, ServiceRef},
    leases::{AdoptedLease, HandedLease, LeaseEvent, Report},
};

/// How long an on-demand source may take for the services of taken-over leases: as long as a first pick
/// waits. Callers use the agent before meanwhile.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

impl Agent {
    /// Waits until these services are known: a lease of an unknown service can't be taken over. Returns
    /// false if a source did not answer in time.
    pub async fn expect(&self, services: impl IntoIterator<Item = ServiceName>) -> bool {
        let services: HashSet<ServiceName> = services.into_iter().collect();
        let known = services.into_iter().map(|service| async move {
            let asked = ServiceRef { service, port: None };
            let found = self.resolver.catalog().lookup_wait(&asked, KNOWN_WITHIN).await;
            !matches!(found, Err(LookupError::Awaited { .. } | LookupError::NotSynced { .. }))
        });
        join_all(known).await.into_iter().all(|known| known)
    }

    /// Takes a lease over: its request counts as in flight, and its report will be accepted. Returns
    /// false if its endpoint is gone, or its holder has too many leases.
    pub fn adopt(&self, lease: HandedLease) -> bool {
        let HandedLease { id, identity, target, address, cost, in_flight, no_report, ttl } = lease;
        let opened = self.resolver.table(identity, &target);
        let live = opened.ok().flatten();
        let held = live.and_then(|live| live.adopt(address, cost, in_flight, identity));
        let adopted = held.is_some_and(|held| {
            let tally = &self.resolver.tally(&target.service);
            let adopted = AdoptedLease { in_flight, no_report, ttl, tally };
            self.leases.adopt(id, held, identity, adopted)
        });
        if !adopted {
            self.metrics.lease_lost();
        }
        adopted
    }

    /// Applies an event of a lease at the other agent.
    pub fn hear(&self, event: LeaseEvent) {
        match event {
            LeaseEvent::Given(lease) => drop(self.adopt(lease)),
            LeaseEvent::Reported { id, identity, event, load, retry } => {
                self.leases.report(identity, id, &Report { event, load, retry });
            }
        }
    }
}
