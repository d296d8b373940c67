//! What an agent before this one tells of its leases.

use super::Agent;
use crate::publish::leases::{Handed, News, Report};

impl Agent {
    /// Takes a lease over: its request counts in flight, and a report of it is known.
    pub fn adopt(&self, lease: Handed) {
        let Handed { id, identity, target, address, cost, in_flight, ttl } = lease;
        let opened = self.names.table(identity, &target);
        // What is gone by now can't be counted, and a report of it is as harmless as unknown.
        let Some(live) = opened.ok().flatten() else { return };
        let Some(held) = live.adopt(address, cost, in_flight) else { return };
        let tally = self.names.tally(&target.service);
        self.leases.adopt(id, held, in_flight, identity, ttl, &tally);
    }

    /// Takes in what became of a lease there.
    pub fn hear(&self, news: News) {
        match news {
            News::Given(lease) => self.adopt(lease),
            News::Reported { id, identity, event, load, retry } => {
                self.leases.report(identity, id, &Report { event, load, retry });
            }
        }
    }
}
