//! What a client learns from its server.

use crate::resource::Name;

/// A change of one resource. `T` is the message that a resource was decoded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The resource is new, or has changed.
    Updated {
        /// Its type.
        type_url: String,
        /// Its name.
        name: Name,
        /// The server's version of it.
        version: String,
        /// What it says.
        resource: T,
    },
    /// The resource does not exist, or no longer.
    Missing {
        /// Its type.
        type_url: String,
        /// Its name.
        name: Name,
    },
    /// The server sent something that can't be used. What was known before holds.
    Rejected {
        /// Its type.
        type_url: String,
        /// Its name.
        name: Name,
        /// What is wrong with it.
        why: String,
    },
}

impl<T> Event<T> {
    /// The type and the name of its resource.
    pub fn resource(&self) -> (&str, &Name) {
        match self {
            Self::Updated { type_url, name, .. }
            | Self::Missing { type_url, name }
            | Self::Rejected { type_url, name, .. } => (type_url, name),
        }
    }
}
