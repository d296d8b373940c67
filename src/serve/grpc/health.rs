//! `grpc.health.v1`: whether the agent serves, for "" and "pointsman.v1.Agent".

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Request, Response, Status, codegen::tokio_stream::wrappers::ReceiverStream};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{self, HealthServer},
};

use crate::serve::{Agent, Caller, limits};

/// The names that have a status; the empty name is the agent as a whole.
const SERVICES: [&str; 2] = ["", "pointsman.v1.Agent"];

pub(super) fn service(agent: Arc<Agent>) -> HealthServer<impl health_server::Health> {
    HealthServer::new(Health { agent }).max_decoding_message_size(limits::MAX_REQUEST)
}

struct Health {
    agent: Arc<Agent>,
}

impl Health {
    /// Not serving until every source has answered: until then calls may only wait.
    fn status(&self) -> ServingStatus {
        match self.agent.resolver.catalog().synced() && !self.agent.shutdown.begun() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if SERVICES.contains(&service.as_str()) {
            return Ok(Response::new(response(self.status())));
        }
        let asked = limits::quoted(&service);
        Err(Status::not_found(format!("no service {asked}; there is \"{}\"", SERVICES[1])))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = request.extensions().get::<Caller>();
        let caller = caller.ok_or_else(|| Status::internal("the caller is not known"))?;
        let permit = self.agent.watch_permit(caller.identity).map_err(|error| error.status())?;
        let known = SERVICES.contains(&request.into_inner().service.as_str());
        let (sender, receiver) = mpsc::channel(1);
        let health = Self { agent: Arc::clone(&self.agent) };
        let mut changes = self.agent.resolver.catalog().changes();
        tokio::spawn(async move {
            let _permit = permit;
            let mut told = None;
            loop {
                changes.mark_unchanged();
                let now = if known { health.status() } else { ServingStatus::ServiceUnknown };
                if told != Some(now) {
                    told = Some(now);
                    if sender.send(Ok(response(now))).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    // The sender lives in the catalog, so that this can't fail.
                    _ = changes.changed() => {}
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
