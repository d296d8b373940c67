//! The gRPC methods of the aggregated and the endpoint discovery service.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::stream;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;
use xds::server::{DeltaStream, SotwStream, limits::beginning};

use super::{
    listen::Peer,
    machine::{Machine, Scope},
    metrics::Metrics,
    response_body::ResponseBody,
    stream::responses,
};
use crate::{discovery::Snapshot, quota::Quota};

/// The names that all streams together hold. A fleet of 1,000 nodes with 50 services each subscribes to
/// 50,000. At 100 to 600 bytes each they take 25 to 150 MiB.
const MOST_NAMES: usize = 1 << 18;
/// The names of one peer, so that others may still have many.
const MOST_NAMES_OF_PEER: usize = MOST_NAMES / 4;
/// The longest request. A subscription to 20,000 names has some 1.2 MB.
const MAX_REQUEST: usize = 2 << 20;

/// Serves all streams; cheap to clone.
#[derive(Clone)]
pub(super) struct Discovery {
    snapshot: Arc<Snapshot>,
    metrics: Arc<Metrics>,
    names: Arc<Quota<Peer>>,
}

/// The streams of one connection; cheap to clone.
#[derive(Clone)]
pub(super) struct OfPeer {
    discovery: Discovery,
    peer: Peer,
    /// The client has sent a request.
    begun: Arc<AtomicBool>,
}

impl Discovery {
    pub(super) fn new(snapshot: Arc<Snapshot>, metrics: Arc<Metrics>) -> Self {
        Self {
            snapshot,
            metrics,
            names: Quota::with_most("names of resources", MOST_NAMES, MOST_NAMES_OF_PEER),
        }
    }

    pub(super) fn of(&self, peer: Peer) -> OfPeer {
        OfPeer { discovery: self.clone(), peer, begun: Arc::default() }
    }
}

impl OfPeer {
    pub(super) fn begun(&self) -> Arc<AtomicBool> {
        self.begun.clone()
    }

    async fn stream<M: Machine>(self, request: Request<Incoming>, scope: Scope) -> Response<Body> {
        let mut body = None;
        let method = Method::<M> { of: self, scope, body: &mut body, machine: PhantomData };
        let codec: ProstCodec<M::Response, M::Request> = ProstCodec::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_REQUEST);
        let mut response = grpc.streaming(method, request).await;
        if let Some(body) = body {
            *response.body_mut() = body;
        }
        response
    }
}

impl Service<Request<Incoming>> for OfPeer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.begun.store(true, Relaxed);
        let of = self.clone();
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
                    of.stream::<SotwStream>(request, scope).await
                }
                (Scope::Aggregated, "DeltaAggregatedResources")
                | (Scope::Endpoints, "DeltaEndpoints") => {
                    of.stream::<DeltaStream>(request, scope).await
                }
                _ => unknown(path),
            })
        })
    }
}

fn unknown(path: &str) -> Response<Body> {
    let path = beginning(path, 256);
    Status::unimplemented(format!(
        "there is no method {path:?}: use ADS (envoy.service.discovery.v3.AggregatedDiscoveryService), or \
         the streams of envoy.service.endpoint.v3.EndpointDiscoveryService"
    ))
    .into_http()
}

/// One streaming method.
struct Method<'a, M> {
    of: OfPeer,
    scope: Scope,
    /// Gets the body of the responses. tonic's own would copy them.
    body: &'a mut Option<Body>,
    machine: PhantomData<M>,
}

impl<M: Machine> StreamingService<M::Request> for Method<'_, M> {
    type Response = M::Response;
    type ResponseStream = stream::Empty<Result<M::Response, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<M::Request>>) -> Self::Future {
        let Discovery { snapshot, metrics, names } = self.of.discovery.clone();
        // Nothing is always there. It grows with the subscriptions.
        let names = match names.take_some(self.of.peer, 0) {
            Ok(names) => names,
            Err(exhausted) => {
                return ready(Err(Status::resource_exhausted(exhausted.to_string())));
            }
        };
        let requests = request.into_inner();
        let responses =
            responses::<M>(self.scope, self.of.peer, requests, names, snapshot, metrics);
        *self.body = Some(Body::new(ResponseBody::new(responses)));
        ready(Ok(tonic::Response::new(stream::empty())))
    }
}
