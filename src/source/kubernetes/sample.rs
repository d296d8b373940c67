//! A source for tests.

use std::sync::Arc;

use super::{connection_pool::ConnectionPool, context::Context};
use crate::{
    catalog::{Catalog, SourceId},
    source::{current_problems::Problems, status::Status},
};

/// A source with this API server. Nobody has asked for anything yet.
pub(super) fn source(url: &str) -> Arc<Context> {
    Arc::new(Context {
        source: SourceId(0),
        name: "kubernetes".into(),
        server: "the API server".into(),
        catalog: Arc::new(Catalog::new(["kubernetes"])),
        connections: ConnectionPool::new(kube::Config::new(url.parse().unwrap())),
        problems: Problems::new(Status::default(), "kubernetes".into()),
    })
}
