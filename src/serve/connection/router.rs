//! What the socket serves: the HTTP routes, and health and reflection for gRPC's own tools. The
//! most frequent HTTP calls have a fast path ([`http::FastPath`]), which does not walk the routes.

use std::sync::Arc;

use ::http::{Request, Response};
use axum::body::Body;
use hyper::body::Incoming;
use tower::Service;

use crate::serve::{Agent, Caller, grpc::health_and_reflection::HealthAndReflection, http};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    agent: Arc<Agent>,
    /// Everything that is not gRPC.
    routes: axum::Router,
    health_and_reflection: HealthAndReflection,
}

impl Router {
    #[must_use]
    pub fn new(agent: Arc<Agent>) -> Self {
        let (routes, health_and_reflection) =
            (http::router(agent.clone()), HealthAndReflection::new(agent.clone()));
        Self { agent, routes, health_and_reflection }
    }

    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    pub(super) fn health_and_reflection(&self) -> &HealthAndReflection {
        &self.health_and_reflection
    }

    /// Answers an HTTP request that has no fast path.
    pub(super) async fn route(
        &self,
        caller: &Caller,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        // The routes need the path only. The rest of the head would be kept while the answer waits.
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
