//! All that is served on the socket beside the calls that are made most: those go ahead of the
//! routes.

use std::sync::{Arc, OnceLock};

use ::http::{
    HeaderMap, HeaderName, Request, Response,
    header::{CONTENT_TYPE, TE},
};
use axum::{Router, body::Body};
use hyper::body::Incoming;
use tower::Service;

use super::{
    Agent, Caller,
    grpc::{message_timeout::Timely, standard, until_end::UntilEnd},
    http, limits,
};

/// All that is served on the socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    agent: Arc<Agent>,
    /// Everything that is not gRPC.
    routes: Router,
    /// What is gRPC, but not ours; made when somebody first asks, since descriptions take memory.
    standard: Arc<OnceLock<Router>>,
}

impl Front {
    /// Serves this agent's calls.
    #[must_use]
    pub fn new(agent: Arc<Agent>) -> Self {
        Self { routes: http::router(agent.clone()), standard: Arc::default(), agent }
    }

    /// The agent behind it.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
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

    /// What gRPC's own tools ask for.
    pub(super) async fn standard(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let standard = self.standard.get_or_init(|| standard::router(self.agent.clone()));
        // Each may be a stream of both sides, like a session.
        let held = match caller.account.hold(limits::SESSION_BYTES) {
            Ok(held) => held,
            Err(error) => return error.status().into_http(),
        };
        let mut request = request.map(|body| Timely::new(body, caller.account.pending()));
        keep_what_is_looked_at(request.headers_mut());
        request.extensions_mut().insert(caller.clone());
        let Ok(response) = standard.clone().call(request).await;
        response.map(|body| Body::new(UntilEnd::new(body, self.agent.ending(), held)))
    }
}

/// tonic keeps a head as long as its call lasts.
fn keep_what_is_looked_at(headers: &mut HeaderMap) {
    let names = [CONTENT_TYPE, TE, HeaderName::from_static("grpc-encoding")];
    let all = std::mem::take(headers);
    let kept = names.into_iter().filter_map(|name| {
        let value = all.get(&name)?.clone();
        Some((name, value))
    });
    headers.extend(kept);
}
