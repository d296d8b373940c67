//! Health and reflection, which gRPC's own tools ask of any server.

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

const PREFIXES: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// Whether a path belongs to health or reflection.
pub(in crate::serve) fn serves(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::serve) struct HealthAndReflection {
    agent: Arc<Agent>,
    /// Made at the first request, since the descriptors take memory.
    routes: Arc<OnceLock<Router>>,
}

impl HealthAndReflection {
    pub(in crate::serve) fn new(agent: Arc<Agent>) -> Self {
        Self { agent, routes: Arc::default() }
    }

    pub(in crate::serve) async fn answer(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let routes = self.routes.get_or_init(|| router(self.agent.clone()));
        // Each may be a bidirectional stream, like a session.
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

/// Removes all headers that nothing reads: tonic keeps the head as long as the call lasts.
fn keep_used_headers(headers: &mut HeaderMap) {
    let names = [CONTENT_TYPE, TE, HeaderName::from_static("grpc-encoding")];
    let all = std::mem::take(headers);
    let kept = names.into_iter().filter_map(|name| {
        let value = all.get(&name)?.clone();
        Some((name, value))
    });
    headers.extend(kept);
}
