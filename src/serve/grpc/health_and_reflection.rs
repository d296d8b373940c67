//! What gRPC's own tools ask of any server: its health, and what it serves.

use std::sync::{Arc, OnceLock};

use axum::{Router, body::Body};
use http::{
    HeaderMap, HeaderName, Request, Response,
    header::{CONTENT_TYPE, TE},
};
use hyper::body::Incoming;
use tonic::service::Routes;
use tower::Service;

use super::{health, message_timeout::MessageTimeout, reflection, shutdown_body::ShutdownBody};
use crate::serve::{Agent, Caller, limits};

/// Where health and reflection are, and nothing else.
const PREFIXES: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// Whether a path is served here.
pub(in crate::serve) fn serves(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// What answers them; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::serve) struct HealthAndReflection {
    agent: Arc<Agent>,
    /// Made when somebody first asks, since descriptions take memory.
    routes: Arc<OnceLock<Router>>,
}

impl HealthAndReflection {
    /// Tells of this agent.
    pub(in crate::serve) fn new(agent: Arc<Agent>) -> Self {
        Self { agent, routes: Arc::default() }
    }

    /// Answers a request that is served here.
    pub(in crate::serve) async fn answer(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let routes = self.routes.get_or_init(|| router(self.agent.clone()));
        // Each may be a stream of both sides, like a session.
        let held = match caller.account.hold(limits::SESSION_BYTES) {
            Ok(held) => held,
            Err(error) => return error.status().into_http(),
        };
        let mut request = request.map(|body| MessageTimeout::new(body, caller.account.pending()));
        keep_used_headers(request.headers_mut());
        request.extensions_mut().insert(caller.clone());
        let Ok(response) = routes.clone().call(request).await;
        response.map(|body| Body::new(ShutdownBody::new(body, self.agent.shutdown(), held)))
    }
}

fn router(agent: Arc<Agent>) -> Router {
    Routes::new(health::service(agent))
        .add_service(reflection::v1())
        .add_service(reflection::v1alpha())
        .prepare()
        .into_axum_router()
}

/// tonic keeps a head as long as its call lasts.
fn keep_used_headers(headers: &mut HeaderMap) {
    let names = [CONTENT_TYPE, TE, HeaderName::from_static("grpc-encoding")];
    let all = std::mem::take(headers);
    let kept = names.into_iter().filter_map(|name| {
        let value = all.get(&name)?.clone();
        Some((name, value))
    });
    headers.extend(kept);
}
