//! What an agent before this one tells of its leases.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;

use super::Agent;
use crate::{
    catalog::{LookupError, ServiceName, ServiceRef},
    publish::leases::{Adopted, Handed, News, Report},
};

/// How long a source that answers on demand may take for services that were picked from before: as
/// long as a first pick waits. Callers go on with the agent before meanwhile.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

impl Agent {
    /// Has these services known, as far as their sources answer in time: a lease of one that is not
    /// can't be taken over. False: it was waited for long enough.
    pub async fn expect(&self, services: impl IntoIterator<Item = ServiceName>) -> bool {
        let services: HashSet<ServiceName> = services.into_iter().collect();
        let known = services.into_iter().map(|service| async move {
            let asked = ServiceRef { service, port: None };
            let found = self.resolver.catalog().lookup_wait(&asked, KNOWN_WITHIN).await;
            !matches!(found, Err(LookupError::Awaited { .. } | LookupError::NotSynced { .. }))
        });
        join_all(known).await.into_iter().all(|known| known)
    }

    /// Takes a lease over: its request counts in flight, and a report of it is known. Whether it
    /// could be: not where its endpoint is gone by now, or its holder has too many.
    pub fn adopt(&self, lease: Handed) -> bool {
        let Handed { id, identity, target, address, cost, in_flight, no_report, ttl } = lease;
        let opened = self.resolver.table(identity, &target);
        let live = opened.ok().flatten();
        let held = live.and_then(|live| live.adopt(address, cost, in_flight, identity));
        let adopted = held.is_some_and(|held| {
            let tally = &self.resolver.tally(&target.service);
            let adopted = Adopted { in_flight, no_report, ttl, tally };
            self.leases.adopt(id, held, identity, adopted)
        });
        if !adopted {
            self.metrics.lease_lost();
        }
        adopted
    }

    /// Takes in what became of a lease there.
    pub fn hear(&self, news: News) {
        match news {
            News::Given(lease) => drop(self.adopt(lease)),
            News::Reported { id, identity, event, load, retry } => {
                self.leases.report(identity, id, &Report { event, load, retry });
            }
        }
    }
}
