//! The leases that end with a connection.

use std::{
    collections::{HashSet, hash_set},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use super::{
    id::{ByItself, LeaseId},
    lock::lock,
};

type Bound = HashSet<LeaseId, ByItself>;

/// A connection to the agent, and the open leases bound to it.
#[derive(Debug, Default)]
pub struct Connection {
    bound: Mutex<Bound>,
    /// Written under the lock of `bound`. It is read without that lock where a shard is locked:
    /// [`Connection::bind`] takes the two locks in the other order, so the threads could deadlock.
    closed: AtomicBool,
}

impl Connection {
    /// Binds a lease while `insert` makes it known, so that a close at the same time can't miss it.
    /// `insert` gets whether the connection is gone already.
    pub(super) fn bind<T>(&self, id: LeaseId, insert: impl FnOnce(bool) -> T) -> T {
        let mut bound = self.bound();
        let closed = self.is_closed();
        if !closed {
            bound.insert(id);
        }
        insert(closed)
    }

    /// Removes a lease that has ended.
    pub(super) fn release(&self, id: LeaseId) {
        self.bound().remove(&id);
    }

    /// Marks the connection as gone. Returns the leases that were bound to it.
    pub(super) fn close(&self) -> Bound {
        let mut bound = self.bound();
        self.closed.store(true, Ordering::Release);
        std::mem::take(&mut bound)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        lock(&self.bound)
    }
}

/// The leases of a connection that is gone and whose deadlines have still to be moved.
#[derive(Debug)]
pub(super) struct Closing {
    pub bound: hash_set::IntoIter<LeaseId>,
    pub latest: Instant,
}
