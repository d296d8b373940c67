//! The gRPC methods of the aggregated and the endpoint discovery service.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;
use xds::server::{DeltaStream, SotwStream};

use super::{
    machine::{Machine, Scope},
    metrics::Metrics,
    stream::responses,
};
use crate::discovery::Snapshot;

/// Serves all streams; cheap to clone.
#[derive(Clone)]
pub(super) struct Discovery {
    snapshot: Arc<Snapshot>,
    metrics: Arc<Metrics>,
}

impl Discovery {
    pub(super) fn new(snapshot: Arc<Snapshot>, metrics: Arc<Metrics>) -> Self {
        Self { snapshot, metrics }
    }

    async fn stream<M: Machine>(self, request: Request<Incoming>, scope: Scope) -> Response<Body> {
        let method = Method::<M> { discovery: self, scope, machine: PhantomData };
        let codec: ProstCodec<M::Response, M::Request> = ProstCodec::default();
        Grpc::new(codec).streaming(method, request).await
    }
}

impl Service<Request<Incoming>> for Discovery {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let discovery = self.clone();
        Box::pin(async move {
            let aggregated = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
            let endpoints = "/envoy.service.endpoint.v3.EndpointDiscoveryService/";
            let path = request.uri().path();
            let (scope, method) = if let Some(method) = path.strip_prefix(aggregated) {
                (Scope::Aggregated, method)
            } else if let Some(method) = path.strip_prefix(endpoints) {
                (Scope::Endpoints, method)
            } else {
                return Ok(unknown(path));
            };
            Ok(match (scope, method) {
                (Scope::Aggregated, "StreamAggregatedResources")
                | (Scope::Endpoints, "StreamEndpoints") => {
                    discovery.stream::<SotwStream>(request, scope).await
                }
                (Scope::Aggregated, "DeltaAggregatedResources")
                | (Scope::Endpoints, "DeltaEndpoints") => {
                    discovery.stream::<DeltaStream>(request, scope).await
                }
                _ => unknown(path),
            })
        })
    }
}

fn unknown(path: &str) -> Response<Body> {
    Status::unimplemented(format!(
        "there is no method {path:?}: use ADS (envoy.service.discovery.v3.AggregatedDiscoveryService), or \
         the streams of envoy.service.endpoint.v3.EndpointDiscoveryService"
    ))
    .into_http()
}

/// One streaming method.
struct Method<M> {
    discovery: Discovery,
    scope: Scope,
    machine: PhantomData<M>,
}

impl<M: Machine> StreamingService<M::Request> for Method<M> {
    type Response = M::Response;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<M::Response, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<M::Request>>) -> Self::Future {
        let Discovery { snapshot, metrics } = self.discovery.clone();
        let responses: Self::ResponseStream =
            Box::pin(responses::<M>(self.scope, request.into_inner(), snapshot, metrics));
        ready(Ok(tonic::Response::new(responses)))
    }
}
