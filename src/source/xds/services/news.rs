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
    /// Something is wrong with a resource. Its last good state stays.
    Wrong { finder: Arc<str>, why: String },
    /// It is right again, or gone.
    Mended { finder: Arc<str> },
}
