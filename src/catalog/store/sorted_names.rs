//! The names of all services in order, for lists that come page by page.

use std::sync::Arc;

use crate::catalog::ServiceName;

/// The names of all services, as of a version of the names.
pub(super) struct SortedNames {
    pub(super) version: u64,
    pub(super) names: Arc<[ServiceName]>,
}

impl SortedNames {
    /// Not sorted yet.
    pub(super) fn none() -> Self {
        Self { version: u64::MAX, names: Arc::from([]) }
    }
}
