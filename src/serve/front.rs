//! Which protocol a request speaks: gRPC by its content type, HTTP/JSON otherwise.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use axum::{Router, body::Body};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use tower::Service;

use super::{Agent, Caller, ending::UntilEnd, grpc, http as json, standard, timely::Timely};

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
        Self { routes: json::router(agent.clone()), standard: Arc::default(), agent }
    }

    /// The agent behind it.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never; the protocols have their own way to say so.
    pub async fn answer(
        &self,
        caller: &Caller,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        if grpc::is_grpc(request.headers()) {
            return match standard::serves(request.uri().path()) {
                true => Box::pin(self.answer_standard(caller, request)).await,
                false => Ok(grpc::answer(&self.agent, caller, request).await),
            };
        }
        if request.version() <= Version::HTTP_11 {
            caller.line.heard();
        }
        // A way through the routes costs as much as the pick.
        if let Some(often) = json::Often::of(&request) {
            return Ok(often.answer(&self.agent, caller, request).await);
        }
        request.extensions_mut().insert(caller.clone());
        Box::pin(self.routes.clone().call(request)).await
    }

    async fn answer_standard(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let standard = self.standard.get_or_init(|| standard::router(self.agent.clone()));
        let mut request = request.map(Timely::new);
        request.extensions_mut().insert(caller.clone());
        let response = standard.clone().call(request).await?;
        Ok(response.map(|body| Body::new(UntilEnd::new(body, self.agent.ending()))))
    }
}
