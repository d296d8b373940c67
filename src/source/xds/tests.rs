//! A source and control planes that misbehave, in paused time. Their connections are in memory.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ::xds::{
    proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    server::DeltaStream,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::sleep,
};
use tonic::{
    Streaming,
    codegen::tokio_stream::wrappers::ReceiverStream,
    server::{Grpc, StreamingService},
};
use tonic_prost::ProstCodec;

use super::{connection::Connection, *};
use crate::{
    catalog::{
        Change,
        sample::{endpoint, service},
    },
    discovery::{Client, ClientKind, Snapshot, View},
};

const HOUR: Duration = Duration::from_secs(3600);
/// More than one connection's buffer ever holds here.
const BUFFER: usize = 1 << 20;

/// What becomes of the next connection.
#[derive(Clone, Copy)]
enum Manner {
    /// It is refused.
    Away,
    /// It is accepted, and nobody reads it.
    Deaf,
    /// It is served.
    Serves,
    /// It is served until the client has got so many bytes, and closed then.
    Cut(usize),
}

type Response = Result<DeltaDiscoveryResponse, tonic::Status>;

/// One stream at the control plane.
struct PlaneStream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Response>,
}

/// Accepts streams.
#[derive(Clone)]
struct Plane {
    manner: Arc<Mutex<Manner>>,
    connections: Arc<AtomicUsize>,
    streams: mpsc::UnboundedSender<PlaneStream>,
}

impl Plane {
    /// The client's end of a new connection.
    fn connect(&self) -> io::Result<DuplexStream> {
        self.connections.fetch_add(1, Relaxed);
        let manner = *self.manner.lock().unwrap();
        let most = match manner {
            Manner::Away => return Err(io::Error::other("nobody is there")),
            Manner::Deaf => 0,
            Manner::Serves => usize::MAX,
            Manner::Cut(most) => most,
        };
        let (client, ours) = duplex(BUFFER);
        let (theirs, server) = duplex(BUFFER);
        if most > 0 {
            tokio::spawn(self.clone().serve(server));
        }
        tokio::spawn(self.clone().carry(ours, theirs, most));
        Ok(client)
    }

    /// Carries bytes both ways, `most` of them to the client. It stops when the plane is deaf, and ends when the
    /// plane is away.
    async fn carry(self, client: DuplexStream, server: DuplexStream, most: usize) {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let manner = || *self.manner.lock().unwrap();
        let up = async {
            let mut buffer = vec![0; 4096];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                match manner() {
                    Manner::Deaf => std::future::pending::<()>().await,
                    Manner::Away => break,
                    Manner::Serves | Manner::Cut(_) => {}
                }
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            let (mut buffer, mut left) = (vec![0; 4096], most);
            while left > 0
                && let Ok(read @ 1..) = from_server.read(&mut buffer).await
            {
                match manner() {
                    Manner::Deaf => std::future::pending::<()>().await,
                    Manner::Away => break,
                    Manner::Serves | Manner::Cut(_) => {}
                }
                let read = read.min(left);
                left -= read;
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
            if most == 0 {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }

    async fn serve(self, io: DuplexStream) {
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(self));
        served.await.ok();
    }
}

impl tower::Service<http::Request<hyper::body::Incoming>> for Plane {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, std::convert::Infallible>> + Send>,
    >;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let method = Method(self.streams.clone());
        let codec: ProstCodec<DeltaDiscoveryResponse, DeltaDiscoveryRequest> =
            ProstCodec::default();
        Box::pin(async move { Ok(Grpc::new(codec).streaming(method, request).await) })
    }
}

struct Method(mpsc::UnboundedSender<PlaneStream>);

impl StreamingService<DeltaDiscoveryRequest> for Method {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = ReceiverStream<Response>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let (responses, receiver) = mpsc::channel(1);
        let stream = PlaneStream { requests: request.into_inner(), responses };
        std::future::ready(match self.0.send(stream) {
            Ok(()) => Ok(tonic::Response::new(ReceiverStream::new(receiver))),
            Err(_) => Err(tonic::Status::unavailable("the test is over")),
        })
    }
}

/// Serves a stream as a control plane with this snapshot does, until it ends.
async fn serve(mut stream: PlaneStream, snapshot: Arc<Snapshot>) {
    let client = Client { kind: ClientKind::Agent, ..Client::default() };
    let mut changes = snapshot.changes();
    let mut machine = DeltaStream::new();
    loop {
        changes.mark_unchanged();
        let next = {
            let resources = snapshot.resources(ClientKind::Agent);
            let progress = snapshot.progress().unwrap();
            let view = View { resources: &resources, client: &client, progress };
            machine.next(&view, Duration::ZERO)
        };
        if let Some(response) = next {
            if stream.responses.send(Ok(response)).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            request = stream.requests.message() => match request {
                // The answer to a response without a type.
                Ok(Some(request)) if request.type_url.is_empty() => {}
                Ok(Some(request)) => drop(machine.request(request).unwrap()),
                _ => return,
            },
            _ = changes.changed() => {}
        }
    }
}

/// A source that follows cart.shop, and its control plane.
struct Bench {
    plane: Plane,
    streams: mpsc::UnboundedReceiver<PlaneStream>,
    published: Arc<Catalog>,
    snapshot: Arc<Snapshot>,
    catalog: Arc<Catalog>,
    status: Status,
}

fn cart() -> ServiceName {
    "cart.shop".parse().unwrap()
}

impl Bench {
    fn new(manner: Manner) -> Self {
        let (sender, streams) = mpsc::unbounded_channel();
        let plane = Plane {
            manner: Arc::new(Mutex::new(manner)),
            connections: Arc::default(),
            streams: sender,
        };
        let published = Arc::new(Catalog::new(["test"]));
        published.apply(SourceId(0), Change::Synced, Duration::ZERO);
        let snapshot = Snapshot::follow(&published);
        let bench = Self {
            plane,
            streams,
            published,
            snapshot,
            catalog: Arc::new(Catalog::new(["xds:test:1"])),
            status: Status::default(),
        };
        bench.publish(1);
        bench.start();
        bench
    }

    fn start(&self) {
        let server: Server = "test:1".parse().unwrap();
        let plane = self.plane.clone();
        let connection = Connection::over(server.address.clone(), move || plane.connect());
        let begin = tokio::time::Instant::now();
        let (catalog, status) = (self.catalog.clone(), self.status.clone());
        tokio::spawn(async move {
            let clock = move || begin.elapsed();
            let (node, source) = (Node::default(), SourceId(0));
            follow(server, node, source, catalog, status, connection, clock).await;
        });
    }

    /// The control plane has cart.shop with this endpoint.
    fn publish(&self, last: u8) {
        let cart = service("cart.shop", [endpoint(last)]);
        self.published.apply(SourceId(0), Change::Upsert(cart), Duration::from_secs(0));
        self.published.tick(Duration::from_secs(100_000));
    }

    fn becomes(&self, manner: Manner) {
        *self.plane.manner.lock().unwrap() = manner;
    }

    /// Serves all streams from now on.
    fn serve_all(&mut self) -> tokio::task::JoinHandle<()> {
        let (_, empty) = mpsc::unbounded_channel();
        let mut streams = std::mem::replace(&mut self.streams, empty);
        let snapshot = self.snapshot.clone();
        tokio::spawn(async move {
            while let Some(stream) = streams.recv().await {
                tokio::spawn(serve(stream, snapshot.clone()));
            }
        })
    }

    /// What a caller gets for cart.shop: the last octets of its addresses.
    fn known(&self) -> Option<Vec<u8>> {
        let service = self.catalog.get(&cart())?;
        let last = |address: std::net::SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => panic!("{address}"),
        };
        let endpoints = service.ports[0].endpoints.iter().filter(|each| !each.braked);
        Some(endpoints.map(|each| last(each.address)).collect())
    }

    /// Asks for cart.shop until it is known with this endpoint. Returns how long that took.
    async fn knows(&self, last: u8) -> Duration {
        let begin = tokio::time::Instant::now();
        while self.known().as_deref() != Some(&[last]) {
            self.catalog.lookup(&"cart.shop".parse().unwrap()).ok();
            assert!(begin.elapsed() < HOUR, "{:?}", self.problems());
            sleep(Duration::from_millis(10)).await;
        }
        begin.elapsed()
    }

    fn problems(&self) -> Vec<String> {
        self.status.problems().iter().map(ToString::to_string).collect()
    }

    /// Keeps the interest in cart.shop for this time.
    async fn pass(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.catalog.lookup(&"cart.shop".parse().unwrap()).ok();
            sleep(Duration::from_secs(60).min(time)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_closes_every_stream_at_once_is_asked_ever_less_often() {
    let mut bench = Bench::new(Manner::Serves);
    let served = bench.serve_all();
    bench.knows(1).await;
    // Every stream ends at once from now on.
    served.abort();
    bench.becomes(Manner::Away);
    bench.pass(Duration::from_secs(60)).await;
    bench.becomes(Manner::Cut(40));
    bench.plane.connections.store(0, Relaxed);
    bench.pass(HOUR).await;
    let connections = bench.plane.connections.load(Relaxed);
    // The longest pause is 5 to 10 s.
    assert!((360..=730).contains(&connections), "{connections} in an hour");
    assert_eq!(bench.known(), Some(vec![1]), "the last good state stays");
    assert!(bench.catalog.get(&cart()).unwrap().stale);
    assert!(bench.problems()[0].contains("test:1: the stream broke off"), "{:?}", bench.problems());
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_ends_every_stream_at_once_is_asked_ever_less_often() {
    let mut bench = Bench::new(Manner::Serves);
    tokio::spawn(async move { while bench.streams.recv().await.is_some() {} });
    let (plane, catalog) = (bench.plane.clone(), bench.catalog.clone());
    sleep(HOUR).await;
    let connections = plane.connections.load(Relaxed);
    assert!((360..=730).contains(&connections), "{connections} in an hour");
    let reason = catalog.unanswered();
    assert!(reason[0].contains("test:1: it ended the stream"), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_connections_and_says_nothing_is_named_and_tried_again() {
    let mut bench = Bench::new(Manner::Deaf);
    sleep(SILENCE + Duration::from_secs(1)).await;
    let problems = bench.problems();
    assert!(
        problems[0].contains("takes connections, and has not answered for 15 s"),
        "{problems:?}"
    );
    assert!(problems[0].contains("write \",clusters\" behind its address"), "{problems:?}");
    sleep(HOUR).await;
    // A ping after 30 s, 20 s for its answer, and a pause of 10 s at most.
    let connections = bench.plane.connections.load(Relaxed);
    assert!((55..=90).contains(&connections), "{connections} in an hour");
    bench.serve_all();
    bench.becomes(Manner::Serves);
    let took = bench.knows(1).await;
    assert!(took < Duration::from_secs(61), "{took:?}");
    assert_eq!(bench.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_state_outlives_an_hour_of_silence_and_is_marked_as_stale() {
    let mut bench = Bench::new(Manner::Serves);
    bench.serve_all();
    bench.knows(1).await;
    bench.becomes(Manner::Deaf);
    bench.publish(2);
    bench.pass(HOUR).await;
    assert_eq!(bench.known(), Some(vec![1]));
    assert!(bench.catalog.get(&cart()).unwrap().stale);
    bench.becomes(Manner::Serves);
    let took = bench.knows(2).await;
    assert!(took < Duration::from_secs(61), "{took:?}");
    assert!(!bench.catalog.get(&cart()).unwrap().stale);
    assert_eq!(bench.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_response_counts_whole_or_not_at_all_wherever_the_connection_breaks() {
    for most in (0..1500).step_by(37) {
        let mut bench = Bench::new(Manner::Serves);
        bench.serve_all();
        bench.knows(1).await;
        bench.becomes(Manner::Away);
        bench.pass(Duration::from_secs(60)).await;
        bench.publish(2);
        bench.becomes(Manner::Cut(most));
        bench.pass(Duration::from_secs(60)).await;
        let known = bench.known();
        assert!(matches!(known.as_deref(), Some([1] | [2])), "after {most} bytes: {known:?}");
        bench.becomes(Manner::Serves);
        bench.knows(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn responses_without_content_change_nothing() {
    let mut bench = Bench::new(Manner::Serves);
    let stream = bench.streams.recv().await.unwrap();
    for type_url in ["", "type.googleapis.com/nobody.knows.this"] {
        let response = DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce: "1".to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        stream.responses.send(Ok(response)).await.unwrap();
    }
    tokio::spawn(serve(stream, bench.snapshot.clone()));
    bench.knows(1).await;
    assert_eq!(bench.plane.connections.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_look_does_not_wait_for_the_end_of_the_pause() {
    let mut bench = Bench::new(Manner::Away);
    bench.serve_all();
    bench.pass(Duration::from_secs(120)).await;
    assert!(bench.problems()[0].contains("test:1 can't be reached: nobody is there"));
    bench.becomes(Manner::Serves);
    bench.status.look_again();
    let took = bench.knows(1).await;
    assert!(took < Duration::from_millis(200), "{took:?}");
}
