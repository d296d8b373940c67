//! What the source is told of a response.

use std::sync::Arc;

use crate::catalog::{Change, ServiceName};

/// A piece of news.
#[derive(Debug, PartialEq)]
pub(in crate::source::xds) enum News {
    /// For the catalog, of a service by name.
    Names(Change),
    /// For the catalog, of a followed service.
    Service(ServiceName, Change),
    /// The first answer: all names are known.
    Synced,
    /// The control plane is behind the one before it. What it tells is held back.
    FallsBehind,
    /// It has caught up: what it tells counts.
    CaughtUp,
    /// It has not caught up for so long that what it tells counts all the same.
    NotCaughtUp,
    /// Something is wrong with a resource. Its last good state stays.
    Wrong { finder: Arc<str>, why: String },
    /// It is right again, or gone.
    Mended { finder: Arc<str> },
}
