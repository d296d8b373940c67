//! All that is served on the socket beside the calls that are made most: those go ahead of the
//! routes.

use std::sync::{Arc, OnceLock};

use ::http::{Request, Response};
use axum::{Router, body::Body};
use hyper::body::Incoming;
use tower::Service;

use super::{Agent, Caller, ending::UntilEnd, http, standard, timely::Timely};

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
        request.extensions_mut().insert(caller.clone());
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
        let mut request = request.map(Timely::new);
        request.extensions_mut().insert(caller.clone());
        let Ok(response) = standard.clone().call(request).await;
        response.map(|body| Body::new(UntilEnd::new(body, self.agent.ending())))
    }
}
