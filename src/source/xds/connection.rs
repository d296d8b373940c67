//! The stream to a control plane: connects, and connects again after a pause when it ends.

use std::{future::pending, pin::Pin, time::Duration};

use ::xds::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::mpsc, time::Instant};
use tonic::{
    Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::server::Address;
use crate::source::backoff::Backoff;

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The largest response. An assignment of 100,000 endpoints has some 10 MB. Range 4 MB, which is what other
/// clients take, to 256 MB.
const LARGEST: usize = 64 << 20;
/// A server that does not answer for this long is away.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that answers no ping for this long is gone. One that lost its power says nothing.
const PING: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);
/// A stream that ended after so long ended for no fault: it is opened again after the shortest pause. One
/// that ends at once, again and again, is not.
const SETTLED: Duration = Duration::from_secs(10);
/// Requests that may wait to be sent.
const QUEUE: usize = 4;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Connects to the control plane.
type Connect = Box<dyn Fn() -> Boxed<Result<Channel, tonic::transport::Error>> + Send>;
type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

/// A stream to a control plane, which is opened again when it ends.
pub struct Connection {
    address: Address,
    connect: Connect,
    backoff: Backoff,
    state: State,
}

enum State {
    Waiting(Pin<Box<tokio::time::Sleep>>),
    Connecting(Boxed<Result<Channel, tonic::transport::Error>>),
    Open { requests: mpsc::Sender<DeltaDiscoveryRequest>, responses: Responses, since: Instant },
}

/// What happened to the stream.
#[derive(Debug)]
pub enum Event {
    /// There is a stream. Nothing was said on it yet.
    Opened,
    /// The server says this.
    Response(DeltaDiscoveryResponse),
    /// There is none any more, or there could be none.
    Closed {
        /// Why, for a person.
        why: String,
        /// What it means for the next one.
        cause: Cause,
    },
}

/// Why there is no stream, as far as it matters to what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server has no incremental xDS.
    NotOffered,
    /// The client asks for more than the server gives.
    Exhausted,
    /// Any other cause: it may work later.
    Other,
}

impl Connection {
    /// Connects as soon as somebody asks what is next.
    pub fn new(address: Address) -> Self {
        let to = address.clone();
        Self::by(address, Box::new(move || connect(&to)))
    }

    fn by(address: Address, connect: Connect) -> Self {
        let state = State::Connecting(connect());
        Self { address, connect, backoff: Backoff::default(), state }
    }

    /// Connections that are made so, for a test.
    #[cfg(test)]
    pub(super) fn over<I>(
        address: Address,
        make: impl Fn() -> std::io::Result<I> + Clone + Send + Sync + 'static,
    ) -> Self
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let connect = move || {
            let make = make.clone();
            let connector =
                tower::service_fn(move |_| std::future::ready(make().map(TokioIo::new)));
            async move { endpoint("localhost")?.connect_with_connector(connector).await }.boxed()
        };
        Self::by(address, Box::new(connect))
    }

    /// Connects now instead of later. An open stream stays.
    pub fn hurry(&mut self) {
        if let State::Waiting(_) = self.state {
            self.state = State::Connecting((self.connect)());
        }
    }

    /// Can be cancelled.
    pub async fn next(&mut self) -> Event {
        loop {
            match &mut self.state {
                State::Waiting(pause) => {
                    pause.await;
                    self.state = State::Connecting((self.connect)());
                }
                State::Connecting(connecting) => {
                    return match connecting.await {
                        Ok(channel) => {
                            let (requests, responses) = open(channel);
                            self.state = State::Open { requests, responses, since: Instant::now() };
                            Event::Opened
                        }
                        Err(error) => {
                            let address = &self.address;
                            let why = format!("{address} can't be reached: {}", innermost(&error));
                            self.closed(why, Cause::Other)
                        }
                    };
                }
                State::Open { responses, since, .. } => {
                    let (ended, cause) = match responses.next().await {
                        Some(Ok(response)) => return Event::Response(response),
                        Some(Err(status)) => (described(&status), Cause::of(status.code())),
                        None => ("it ended the stream".to_owned(), Cause::Other),
                    };
                    if since.elapsed() >= SETTLED {
                        self.backoff.succeeded();
                    }
                    return self.closed(format!("{}: {ended}", self.address), cause);
                }
            }
        }
    }

    fn closed(&mut self, why: String, cause: Cause) -> Event {
        let pause = self.backoff.failed();
        self.state = State::Waiting(Box::pin(tokio::time::sleep(pause)));
        Event::Closed { why, cause }
    }

    /// Takes requests for the open stream. None: there is no stream.
    pub fn requests(&self) -> Option<mpsc::Sender<DeltaDiscoveryRequest>> {
        match &self.state {
            State::Open { requests, .. } => Some(requests.clone()),
            State::Waiting(_) | State::Connecting(_) => None,
        }
    }
}

impl Cause {
    fn of(code: tonic::Code) -> Self {
        match code {
            tonic::Code::Unimplemented => Self::NotOffered,
            tonic::Code::ResourceExhausted => Self::Exhausted,
            _ => Self::Other,
        }
    }
}

/// Room for one request; waits for it, and for ever without a stream. Can be cancelled.
pub async fn room(
    requests: Option<mpsc::Sender<DeltaDiscoveryRequest>>,
) -> mpsc::OwnedPermit<DeltaDiscoveryRequest> {
    if let Some(requests) = requests
        && let Ok(permit) = requests.reserve_owned().await
    {
        return permit;
    }
    pending().await
}

fn endpoint(authority: &str) -> Result<Endpoint, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{authority}"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING_TIME)
        .keep_alive_while_idle(true)
        .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")))
}

fn connect(address: &Address) -> Boxed<Result<Channel, tonic::transport::Error>> {
    match address.clone() {
        Address::Tcp(address) => async move {
            let endpoint = endpoint(&address)?;
            endpoint.tcp_nodelay(true).connect().await
        }
        .boxed(),
        Address::Unix(path) => {
            let connector = tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            async move { endpoint("localhost")?.connect_with_connector(connector).await }.boxed()
        }
    }
}

/// Opens the stream. A server may answer with the first response only, for which it needs a request.
fn open(channel: Channel) -> (mpsc::Sender<DeltaDiscoveryRequest>, Responses) {
    let (to, requests) = mpsc::channel(QUEUE);
    let requests =
        stream::unfold(requests, |mut requests| async { Some((requests.recv().await?, requests)) });
    let responses = async move {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec: ProstCodec<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
            ProstCodec::default();
        let method = PathAndQuery::from_static(METHOD);
        let response = grpc.streaming(tonic::Request::new(requests), method, codec).await?;
        Ok::<_, Status>(response.into_inner())
    };
    (to, stream::once(responses).try_flatten().boxed())
}

fn described(status: &Status) -> String {
    match status.code() {
        tonic::Code::Unimplemented => {
            format!("it has no incremental xDS (DeltaAggregatedResources): {}", status.message())
        }
        code => format!("the stream broke off: {code:?}: {}", status.message()),
    }
}

/// The errors around it say less.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
