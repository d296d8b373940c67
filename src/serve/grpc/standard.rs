//! What gRPC's own tools ask of any server: its health, and what it serves.

use std::sync::Arc;

use axum::Router;
use tonic::service::Routes;

use super::{health, reflection};
use crate::serve::Agent;

/// Where health and reflection are, and nothing else.
const PREFIXES: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// Whether a path is served here.
pub(in crate::serve) fn serves(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// The services.
pub(in crate::serve) fn router(agent: Arc<Agent>) -> Router {
    Routes::new(health::service(agent))
        .add_service(reflection::v1())
        .add_service(reflection::v1alpha())
        .prepare()
        .into_axum_router()
}
