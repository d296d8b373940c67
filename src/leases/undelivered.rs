//! Ends the leases of an answer that never reaches its caller.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{id::LeaseId, registry::Leases};

/// The leases of an answer that is on its way. If it is dropped before [`Undelivered::delivered`],
/// they end unused.
#[derive(Debug)]
pub struct Undelivered {
    leases: Arc<Leases>,
    ids: SmallVec<[LeaseId; 1]>,
}

impl Undelivered {
    #[must_use]
    pub fn new(leases: Arc<Leases>, ids: impl Into<SmallVec<[LeaseId; 1]>>) -> Self {
        Self { leases, ids: ids.into() }
    }

    /// Keeps the leases: the answer has been handed to the connection.
    pub fn delivered(mut self) {
        self.ids.clear();
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        self.leases.withdraw(&self.ids);
    }
}
