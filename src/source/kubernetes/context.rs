//! What all parts of a running source use.

use std::sync::Arc;

use super::{
    api_error::Resource,
    connection_pool::{ConnectionPool, StreamSlot},
    read_up_to::ReadUpTo,
    request_queue::Urgency,
    watch::{Pace, Subject},
};
use crate::{
    catalog::{Catalog, Change, SourceId},
    clock,
    source::{backoff::Backoff, current_problems::Problems},
};

/// What all parts of a running source use.
pub(super) struct Context {
    pub(super) source: SourceId,
    /// The source's name, for a person.
    pub(super) name: Arc<str>,
    /// The API server's URL.
    pub(super) server: Arc<str>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) connections: ConnectionPool,
    pub(super) problems: Problems,
}

impl Context {
    pub(super) fn subject(&self, resource: Resource, of: impl std::fmt::Display) -> Subject {
        let finder = format!("{resource:?} of {of}").into();
        Subject { resource, finder, server: self.server.clone(), read: None }
    }

    /// For the watches of all objects.
    pub(super) fn read_up_to(&self) -> ReadUpTo {
        ReadUpTo::new(self.catalog.clone(), self.source, self.connections.origin().into())
    }

    /// For the watch of all services, for which every caller waits.
    pub(super) fn pace_of_all(&self) -> Pace {
        Pace {
            reachability: self.connections.reachability().clone(),
            queue: self.connections.queue().clone(),
            list: Arc::new(|| Urgency::Waiting),
            begin: Urgency::Waiting,
        }
    }

    /// Everything known at the start has been told.
    pub(super) fn synced(&self) {
        self.catalog.apply(self.source, Change::Synced, clock::now());
        self.problems.synced();
    }

    /// A slot on a connection; waits until there is one.
    pub(super) async fn slot(&self, finder: &Arc<str>) -> StreamSlot {
        let mut backoff = Backoff::default();
        loop {
            match self.connections.slot() {
                Ok(slot) => {
                    self.problems.mended(finder);
                    return slot;
                }
                Err(what) => self.problems.found(finder, &what),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }
}
