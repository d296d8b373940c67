//! The attacks of one caller. Each runs until it is dropped, and takes all that it can get: after a
//! refusal or a closed connection it tries again.

use std::{
    convert::Infallible, future::pending, io, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc,
    thread, time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, LIST, PICK, PREFACE, SETTINGS, frame};
/// Bytes of an unfinished body: one less than the limit of a request.
const BODY: usize = (1 << 20) - 1;
/// Bytes of an unfinished head.
const HEAD: usize = 390_000;
/// The pause between two tries of one connection. With many connections this still fills a core.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// The agent to attack.
#[derive(Clone, Debug)]
pub struct Target {
    /// The agent's socket.
    pub socket: PathBuf,
    /// Its admin address.
    pub admin: SocketAddr,
}

type AttackFuture = Pin<Box<dyn Future<Output = ()>>>;

/// One way to attack.
#[derive(Debug)]
pub struct Attack {
    /// The name in reports and for `--only`.
    pub name: &'static str,
    start: fn(Target) -> AttackFuture,
}

/// Not an attack: a caller that keeps all processors busy and calls nothing.
pub const BUSY_LOOPS: Attack =
    Attack { name: "busy loops that ask nothing", start: |_| Box::pin(busy_loops()) };

/// All attacks. The last one runs all others at once.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "bodies, HTTP/2", start: |target| Box::pin(bodies(target, "/v1/pick", false)) },
    Attack { name: "bodies, HTTP/1.1", start: |target| Box::pin(bodies_http1(target)) },
    Attack { name: "messages, unary", start: |target| Box::pin(bodies(target, UNARY, true)) },
    Attack { name: "messages, sessions", start: |target| Box::pin(bodies(target, SESSION, true)) },
    Attack { name: "heads, HTTP/1.1", start: |target| Box::pin(heads(target)) },
    Attack { name: "frames, HTTP/2", start: |target| Box::pin(frames(target)) },
    Attack { name: "open requests", start: |target| Box::pin(open_requests(target)) },
    Attack { name: "unread answers", start: |target| Box::pin(unread(target, 1 << 20)) },
    Attack { name: "unread answers, no window", start: |target| Box::pin(unread(target, 1)) },
    Attack { name: "connections", start: |target| Box::pin(connections(target)) },
    Attack { name: "admin heads", start: |target| Box::pin(admin_heads(target)) },
    Attack { name: "everything", start: |target| Box::pin(everything(target)) },
];

const UNARY: &str = "/pointsman.v1.Agent/Report";
const SESSION: &str = "/pointsman.v1.Agent/Session";

impl Attack {
    /// Runs the attack for this time.
    ///
    /// # Errors
    /// It cannot begin.
    pub fn run(&self, target: Target, lasts: Duration) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // An attack ends only by this timeout.
        runtime.block_on(async { timeout(lasts, (self.start)(target)).await }).ok();
        Ok(())
    }
}

/// A busy loop for each processor: an attack keeps its own thread and the agent's threads busy, too.
async fn busy_loops() {
    let running = Arc::new(());
    let processors = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..processors {
        let running = Arc::downgrade(&running);
        thread::spawn(move || while running.strong_count() > 0 {});
    }
    pending::<()>().await;
    drop(running);
}

async fn everything(target: Target) {
    let all = ATTACKS.iter().filter(|attack| attack.name != "everything");
    join_all(all.map(|attack| (attack.start)(target.clone()))).await;
}

/// Runs this many tasks side by side, and repeats each forever.
async fn side_by_side<F: Future<Output = io::Result<()>>>(count: usize, one: impl Fn() -> F) {
    join_all((0..count).map(|_| async {
        loop {
            // The agent refuses it or closes the connection.
            one().await.ok();
            sleep(RETRY_AFTER).await;
        }
    }))
    .await;
}

/// 250 requests on each of 64 connections, each with an unfinished body or message.
async fn bodies(target: Target, path: &'static str, grpc: bool) {
    side_by_side(64, || async {
        let stream = UnixStream::connect(&target.socket).await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let requests = join_all((0..250).map(|_| {
            let mut sender = sender.clone();
            async move {
                while !sender.is_closed() {
                    let Ok(answer) = sender.send_request(unfinished_request(path, grpc)).await
                    else {
                        break;
                    };
                    // A session's answer continues; other answers are errors.
                    answer.into_body().collect().await.ok();
                    sleep(RETRY_AFTER).await;
                }
            }
        }));
        requests.await;
        connection.abort();
        Ok(())
    })
    .await;
}

type EndlessBody =
    StreamBody<Pin<Box<dyn stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

fn unfinished_request(path: &str, grpc: bool) -> Request<EndlessBody> {
    let content = if grpc { "application/grpc" } else { "application/json" };
    let piece = Bytes::from(vec![b' '; 64 << 10]);
    let pieces = std::iter::repeat_n(piece.clone(), BODY / piece.len());
    // The gRPC prefix for a message of one mebibyte.
    let prefix = grpc.then(|| Bytes::from_static(&[0, 0, 0x10, 0, 0]));
    let last = piece.slice(..BODY % piece.len());
    let frames = prefix.into_iter().chain(pieces).chain([last]).map(|piece| Ok(Frame::data(piece)));
    let body: Pin<Box<dyn stream::Stream<Item = _> + Send>> =
        Box::pin(stream::iter(frames).chain(stream::pending()));
    Request::post(format!("http://x{path}"))
        .header("content-type", content)
        .header("te", "trailers")
        .body(StreamBody::new(body))
        .expect("it has all that a request needs")
}

/// Sends `opening`, then `more` again and again until `length` bytes are sent. Then waits until the agent
/// closes the connection. Reads all answers.
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    opening: &[u8],
    more: &[u8],
    length: usize,
) -> io::Result<()> {
    let (mut reads, mut writes) = tokio::io::split(stream);
    let sending = async {
        writes.write_all(opening).await?;
        let mut sent = 0;
        while sent < length {
            let piece = &more[..more.len().min(length - sent)];
            writes.write_all(piece).await?;
            sent += piece.len();
        }
        std::future::pending().await
    };
    let reading = async {
        let mut room = [0; 1024];
        while reads.read(&mut room).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        ended = sending => ended,
        ended = reading => ended,
    }
}

async fn bodies_http1(target: Target) {
    side_by_side(2000, || async {
        let stream = UnixStream::connect(&target.socket).await?;
        let head =
            format!("POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 1 << 20);
        send(stream, head.as_bytes(), &[b' '; 16 << 10], BODY).await
    })
    .await;
}

async fn heads(target: Target) {
    side_by_side(2000, || async {
        let stream = UnixStream::connect(&target.socket).await?;
        send(stream, b"GET /v1/services HTTP/1.1\r\nhost: x\r\na: ", &[b'a'; 1000], HEAD).await
    })
    .await;
}

async fn admin_heads(target: Target) {
    side_by_side(2000, || async {
        let stream = TcpStream::connect(target.admin).await?;
        send(stream, b"GET /metrics HTTP/1.1\r\nhost: x\r\na: ", &[b'a'; 1000], HEAD).await
    })
    .await;
}

/// The beginning of an HTTP/2 connection with this window for each stream.
fn opening(window: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &settings)].concat()
}

/// This many requests, which differ only in their stream.
fn requests(count: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    (0..count).flat_map(|n| frame(HEADERS, flags | END_HEADERS, 2 * n + 1, block)).collect()
}

/// A frame without its last bytes.
async fn frames(target: Target) {
    let begun = [
        opening(1 << 20),
        frame(HEADERS, END_HEADERS, 1, PICK),
        frame(DATA, 0, 1, &[b' '; 16 << 10])[..16 << 10].to_vec(),
    ]
    .concat();
    side_by_side(2000, || async {
        send(UnixStream::connect(&target.socket).await?, &begun, b" ", 0).await
    })
    .await;
}

/// Requests that send only their head.
async fn open_requests(target: Target) {
    let begun = [opening(1 << 20), requests(256, 0, PICK)].concat();
    side_by_side(2000, || async {
        send(UnixStream::connect(&target.socket).await?, &begun, b" ", 0).await
    })
    .await;
}

/// Requests whose answers nobody reads. `window` is how many bytes of each the agent may send.
async fn unread(target: Target, window: u32) {
    let begun = [opening(window), requests(256, END_STREAM, LIST)].concat();
    side_by_side(2000, || async {
        let mut stream = UnixStream::connect(&target.socket).await?;
        timeout(Duration::from_secs(5), stream.write_all(&begun)).await.ok();
        sleep(Duration::from_secs(5)).await;
        Ok(())
    })
    .await;
}

async fn connections(target: Target) {
    side_by_side(5000, || async {
        let stream = UnixStream::connect(&target.socket).await?;
        let request = b"GET /v1/services HTTP/1.1\r\nhost: x\r\n\r\n";
        send(stream, request, b" ", 0).await
    })
    .await;
}
