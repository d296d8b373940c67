//! Ends leases by their time, or with their connection.
//!
//! A caller that crashes may leave 200,000 leases that are due at the same moment. They end a few
//! at a time, so that no lock is held for long and other calls run in between.

use std::{collections::hash_set, sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{
    AFTER_CONNECTION, Connection, LeaseId, Leases, OpenLease, Outcome, SHARDS, Shard, lock,
};

/// The leases of one shard that end under one hold of its lock. In all shards together, this many
/// times [`SHARDS`] end before other tasks run. At a microsecond each, these wait less than a pick
/// takes on the socket.
const AT_A_TIME: usize = 8;
/// The leases of a closed connection whose deadlines are moved before other tasks run, for the same
/// reason.
const CLOSED_AT_A_TIME: usize = AT_A_TIME * SHARDS;

/// The leases of a connection that is gone and whose deadlines have still to be moved.
#[derive(Debug)]
pub(super) struct Closing {
    bound: hash_set::IntoIter<LeaseId>,
    latest: Instant,
}

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
            // From here on, every new deadline wakes this task until the earliest one is known
            // again.
            self.next_look.store(u64::MAX, Ordering::SeqCst);
            match self.step() {
                ExpiryStep::More => {
                    tokio::task::yield_now().await;
                    continue;
                }
                ExpiryStep::Next(Some(next)) => drop(self.bring_forward(next)),
                ExpiryStep::Next(None) => {}
            }
            let next = self.next_look.load(Ordering::SeqCst);
            if next == u64::MAX {
                self.look_sooner.notified().await;
            } else {
                let until = self.start + Duration::from_nanos(next);
                // The next step looks at everything, whichever of the two ended the wait.
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = self.look_sooner.notified() => {}
                }
            }
        }
    }

    /// Lets the leases of a connection that is gone live for [`AFTER_CONNECTION`] at most.
    pub fn close(&self, connection: &Connection) {
        let bound = connection.close();
        if !bound.is_empty() {
            let latest = Instant::now() + AFTER_CONNECTION;
            lock(&self.closing).push_back(Closing { bound: bound.into_iter(), latest });
            self.look_sooner.notify_one();
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
            let due = lock(shard).take_due(now);
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

    /// Wakes [`Leases::run`] if it would look later than at `deadline`.
    pub(super) fn look_by(&self, deadline: Instant) {
        if self.bring_forward(deadline) {
            self.look_sooner.notify_one();
        }
    }

    /// Moves the next look forward to `deadline`. Returns false if it is due earlier already.
    fn bring_forward(&self, deadline: Instant) -> bool {
        let at = u64::try_from((deadline - self.start).as_nanos()).unwrap_or(u64::MAX - 1);
        // The load keeps the usual case, a later deadline than the awaited one, free of a write.
        at < self.next_look.load(Ordering::SeqCst)
            && at < self.next_look.fetch_min(at, Ordering::SeqCst)
    }
}

impl Shard {
    /// Moves the deadline of an open lease. If its connection is gone, the deadline can only become
    /// earlier.
    pub(super) fn live_until(&mut self, id: LeaseId, deadline: Instant) -> Instant {
        let Some(open) = self.open.get_mut(&id) else { return deadline };
        let gone = open.connection.as_ref().is_some_and(|connection| connection.is_closed());
        let deadline = if gone { deadline.min(open.deadline) } else { deadline };
        self.deadlines.remove(&(open.deadline, id));
        open.deadline = deadline;
        self.deadlines.insert((deadline, id));
        deadline
    }

    fn take_due(&mut self, now: Instant) -> Vec<(LeaseId, OpenLease)> {
        let mut due = Vec::new();
        while due.len() < AT_A_TIME
            && let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(open) = self.open.remove(&id) {
                if let Some(pending) = &mut self.pending {
                    pending.expired(id);
                }
                // The ends of other leases are not remembered: their callers have no name to
                // report.
                if !open.no_report {
                    // The step that ends the lease asks when its end may be forgotten.
                    open.permit.owner().remember(id, now);
                    open.permit.owner().expired(now);
                }
                due.push((id, open));
            }
        }
        due
    }
}
