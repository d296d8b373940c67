//! All that is served on the socket beside the calls that are made most: those go ahead of the
//! routes.

use std::sync::Arc;

use ::http::{Request, Response};
use axum::body::Body;
use hyper::body::Incoming;
use tower::Service;

use crate::serve::{Agent, Caller, grpc::health_and_reflection::HealthAndReflection, http};

/// All that is served on the socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    agent: Arc<Agent>,
    /// Everything that is not gRPC.
    routes: axum::Router,
    /// What is gRPC, but not ours.
    health_and_reflection: HealthAndReflection,
}

impl Router {
    /// Serves this agent's calls.
    #[must_use]
    pub fn new(agent: Arc<Agent>) -> Self {
        let (routes, health_and_reflection) =
            (http::router(agent.clone()), HealthAndReflection::new(agent.clone()));
        Self { agent, routes, health_and_reflection }
    }

    /// The agent behind it.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// What gRPC's own tools ask for.
    pub(super) fn health_and_reflection(&self) -> &HealthAndReflection {
        &self.health_and_reflection
    }

    /// What is neither gRPC nor made often.
    pub(super) async fn route(
        &self,
        caller: &Caller,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        // Nothing of the head is looked at but its path, and an answer may be waited for.
        request.headers_mut().clear();
        request.extensions_mut().insert(caller.clone());
        let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let _held = match caller.account.hold_long(path) {
            Ok(held) => held,
            Err(error) => return http::refuse_unread(&self.agent, None, &error),
        };
        let Ok(response) = self.routes.clone().call(request).await;
        response
    }
}
