//! What a source tells the catalog. Sources, the merge and the store share these types.

use super::{model::Service, name::ServiceName};

/// Which of the catalog's sources, in the order of [`Catalog::new`](super::Catalog::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub usize);

/// What a source tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// All its services. Others are gone.
    Replace(Vec<Service>),
    /// One service, whole.
    Upsert(Service),
    /// The service is gone.
    Remove(ServiceName),
    /// The names of all its services. It tells the endpoints only of those that callers ask for.
    /// Services with other names are gone.
    Names(Vec<ServiceName>),
    /// One more name.
    Name(ServiceName),
    /// The service still exists, but its endpoints are no longer told.
    Withdraw(ServiceName),
    /// The source has told all it knew at its start.
    Synced,
}
