//! `ListCallers`: the callers' open leases, and how many ran out.

use std::collections::BTreeMap;

use super::Agent;
use crate::{api::v1, identity::Identity, leases::Account};

/// Callers of one answer; those with most expired leases come first.
const LISTED: usize = 100;

impl Agent {
    /// The leases of the caller that asks. Root and the agent's own user see those of all callers.
    pub fn list_callers(&self, identity: Identity) -> v1::ListCallersResponse {
        let mut open: BTreeMap<Identity, usize> = self.leases.holders().into_iter().collect();
        let mut callers: Vec<_> = (self.leases.accounts().into_iter())
            .map(|(who, account)| (who, account, open.remove(&who).unwrap_or_default()))
            .collect();
        // Callers whose leases outlive their accounts.
        callers.extend(open.into_iter().map(|(who, open)| (who, Account::default(), open)));
        if !sees_all(identity) {
            callers.retain(|(who, ..)| *who == identity);
        }
        let summary = |(who, account, open)| self.summary(who, account, open);
        v1::ListCallersResponse { callers: callers.into_iter().take(LISTED).map(summary).collect() }
    }

    fn summary(&self, who: Identity, account: Account, open: usize) -> v1::CallerSummary {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        v1::CallerSummary {
            caller: self.pods().named(who).to_string(),
            leases_open: number(open as u64),
            leases_given: number(account.given),
            leases_expired: number(account.expired),
        }
    }
}

/// Root and the agent's own user see everything: they could read the agent's memory anyway.
fn sees_all(identity: Identity) -> bool {
    let own = rustix::process::geteuid().as_raw();
    identity == Identity::Uid(0) || identity == Identity::Uid(own)
}
