//! What a source tells the catalog.

use super::{model::Service, name::ServiceName};

/// Which of the catalog's sources, in the order of [`Catalog::new`](super::Catalog::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub usize);

/// What a source says.
#[derive(Clone, Debug)]
pub enum Change {
    /// All that it knows: what is not in it is gone.
    Replace(Vec<Service>),
    /// One service, whole.
    Upsert(Service),
    /// It no longer has this one.
    Remove(ServiceName),
    /// The names of all that it has: it says the endpoints of those that are asked for. What is not
    /// among them is gone.
    Names(Vec<ServiceName>),
    /// One more of these.
    Name(ServiceName),
    /// It no longer says the endpoints of this one, though it has it.
    Withdraw(ServiceName),
    /// It has said all it knew at its start.
    Synced,
}
