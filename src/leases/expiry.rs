//! Ends leases by their time, or with their connection.
//!
//! A caller that crashes may leave 200,000 leases that are due at the same moment. They end a few
//! at a time, so that no lock is held for long and other calls run in between.

use tokio::time::Instant;

use super::{
    connection::{Closing, Connection},
    id::LeaseId,
    lock::lock,
    registry::{AFTER_CONNECTION, Leases},
    shard::SHARDS,
};
use crate::publish::Outcome;

/// The leases of one shard that end under one hold of its lock. In all shards together, this many
/// times [`SHARDS`] end before other tasks run. At a microsecond each, these wait less than a pick
/// takes on the socket.
const AT_A_TIME: usize = 8;
/// The leases of a closed connection whose deadlines are moved before other tasks run, for the same
/// reason.
const CLOSED_AT_A_TIME: usize = AT_A_TIME * SHARDS;

/// The result of a step of expiry.
enum ExpiryStep {
    /// There is more to do now.
    More,
    /// When the next lease is due, if any is.
    Next(Option<Instant>),
}

impl Leases {
    /// Ends leases at their deadlines; never returns.
    pub async fn run(&self) {
        loop {
            self.next_look.forget();
            match self.step() {
                ExpiryStep::More => {
                    tokio::task::yield_now().await;
                    continue;
                }
                ExpiryStep::Next(Some(next)) => drop(self.next_look.bring_forward(next)),
                ExpiryStep::Next(None) => {}
            }
            self.next_look.wait().await;
        }
    }

    /// Lets the leases of a connection that is gone live for [`AFTER_CONNECTION`] at most.
    pub fn close(&self, connection: &Connection) {
        let bound = connection.close();
        if !bound.is_empty() {
            let latest = Instant::now() + AFTER_CONNECTION;
            lock(&self.closing).push_back(Closing { bound: bound.into_iter(), latest });
            self.next_look.wake();
        }
    }

    fn step(&self) -> ExpiryStep {
        if self.close_some() {
            return ExpiryStep::More;
        }
        let now = Instant::now();
        let mut next = None;
        let mut more = false;
        for shard in &self.shards {
            let due = lock(shard).take_due(now, AT_A_TIME);
            more |= due.len() == AT_A_TIME;
            for (id, open) in due {
                if !open.no_report {
                    open.tally.expired();
                }
                open.end(id, Outcome::Cancelled, None);
            }
            let first = lock(shard).deadlines.first().map(|&(deadline, _)| deadline);
            next = [next, first].into_iter().flatten().min();
        }
        let next = [next, self.owners.forget(now)].into_iter().flatten().min();
        if more { ExpiryStep::More } else { ExpiryStep::Next(next) }
    }

    /// Shortens the time of some leases whose connection is gone. Returns whether such a connection
    /// was left.
    fn close_some(&self) -> bool {
        let mut closing = lock(&self.closing);
        let Some(first) = closing.front_mut() else { return false };
        let latest = first.latest;
        let bound: Vec<LeaseId> = first.bound.by_ref().take(CLOSED_AT_A_TIME).collect();
        if bound.len() < CLOSED_AT_A_TIME {
            closing.pop_front();
        }
        drop(closing);
        for id in bound {
            let mut shard = self.shard(id);
            if shard.open.get(&id).is_some_and(|open| open.deadline > latest) {
                shard.live_until(id, latest);
            }
        }
        true
    }
}
