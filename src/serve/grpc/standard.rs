//! What gRPC's own tools ask of any server: its health, and what it serves.
//!
//! `grpc.health.v1` answers for "" and "pointsman.v1.Agent"; `grpc.reflection.v1` and the `v1alpha`
//! that older tools speak tell the services and messages, so that grpcurl needs no proto file.

use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status, codegen::tokio_stream::wrappers::ReceiverStream, service::Routes,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{self, HealthServer},
};
use tonic_reflection::server::Builder;

use crate::{
    api,
    serve::{Agent, Caller, limits},
};

/// Where health and reflection are, and nothing else.
const PREFIXES: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// What may be asked for; the empty name is the agent as a whole.
const SERVICES: [&str; 2] = ["", "pointsman.v1.Agent"];

/// Whether a path is served here.
pub(in crate::serve) fn serves(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// The services.
pub(in crate::serve) fn router(agent: Arc<Agent>) -> Router {
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What errors carry: without it grpcurl shows the details as octets.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    const MADE_BY_THE_COMPILER: &str = "descriptors that were made by the compiler";
    let health = HealthServer::new(Health { agent });
    Routes::new(health.max_decoding_message_size(limits::MAX_REQUEST))
        .add_service(described().build_v1().expect(MADE_BY_THE_COMPILER))
        .add_service(described().build_v1alpha().expect(MADE_BY_THE_COMPILER))
        .prepare()
        .into_axum_router()
}

struct Health {
    agent: Arc<Agent>,
}

impl Health {
    /// Whoever asks before that can be told to wait, and would be by each call.
    fn status(&self) -> ServingStatus {
        match self.agent.names.catalog().synced() && !self.agent.ending.begun() {
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
        let caller = caller.ok_or_else(|| Status::internal("nobody says who is calling"))?;
        let permit = self.agent.watch_permit(caller.identity).map_err(|error| error.status())?;
        let known = SERVICES.contains(&request.into_inner().service.as_str());
        let (sender, receiver) = mpsc::channel(1);
        let health = Self { agent: Arc::clone(&self.agent) };
        let mut changes = self.agent.names.catalog().changes();
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
