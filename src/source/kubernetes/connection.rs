//! A shared connection to the API server, which reconnects after it ended.
//!
//! Only the handshake shows whether a server speaks HTTP/2. A client that opens a connection for
//! each request while there is none, and then drops all but one, shakes hands once for every watch.
//! Here the first request connects, and the others wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Request, Response, Uri, header::HOST, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connection, HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::client::Body;
use tokio::{net::TcpStream, sync::Mutex};
use tower::{BoxError, ServiceExt};
use tracing::debug;

use super::{
    error_chain::with_causes,
    first_answer::{AnswerTimeout, FirstAnswer},
    reachability::{Attempt, Reachability},
};

/// The timeout of a connection with its TLS handshake. kubectl's and client-go's is 30 s, but an
/// agent may have other servers to ask. Range 1 to 60 s.
const CONNECT: Duration = Duration::from_secs(10);

/// The interval of HTTP/2 pings, and the timeout of their answer. A server that vanished silently
/// is noticed after the sum of both. client-go's are 30 s and 15 s.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// One connection, or none at the moment.
pub(super) struct SharedConnection {
    connector: HttpsConnector<HttpConnector>,
    reachability: Reachability,
    /// Locked while it connects.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    answer_timeout: AnswerTimeout,
}

#[derive(Clone)]
struct Open {
    sender: http2::SendRequest<Body>,
    /// The epoch of its last answer, as [`Reachability`] counts.
    epoch: Arc<AtomicU64>,
    first: Arc<FirstAnswer>,
}

/// What a request is sent over.
enum Channel {
    Shared(Open),
    /// HTTP/1.1: one request at a time.
    Alone(http1::SendRequest<Body>, u64),
}

/// The head of an answer, or the request that was not sent.
type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

impl Channel {
    fn first(&self) -> Arc<FirstAnswer> {
        match self {
            Self::Shared(open) => open.first.clone(),
            // Each request is the first on its connection, and may take as long as later ones on a
            // shared one.
            Self::Alone(..) => Arc::new(FirstAnswer::new(None)),
        }
    }
}

impl SharedConnection {
    pub(super) fn new(
        connector: HttpsConnector<HttpConnector>,
        reachability: Reachability,
    ) -> Self {
        Self { connector, reachability, state: Mutex::default() }
    }

    /// Sends a request. Returns the head of the answer.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        loop {
            let (channel, mut attempt) = self.channel(request.uri()).await?;
            let first = channel.first();
            let sent = tokio::select! {
                sent = self.send_by(channel, request) => sent?,
                none = first.given_up(&mut attempt) => return Err(none.into()),
            };
            let mut unsent = match sent {
                Ok(response) => return Ok(response),
                Err(unsent) => unsent,
            };
            match (unsent.take_message(), attempt) {
                // The connection had ended before: retry.
                (Some(message), None) => request = message,
                (_, attempt) => {
                    let error = unsent.into_error();
                    if let Some(attempt) = attempt {
                        attempt.failed(&with_causes(&error));
                    }
                    return Err(error.into());
                }
            }
        }
    }

    async fn send_by(&self, channel: Channel, request: Request<Body>) -> Result<Sent, BoxError> {
        let sent = match channel {
            Channel::Shared(mut open) => {
                let sent = open.sender.try_send_request(request).await;
                if sent.is_ok() {
                    open.first.came();
                    let epoch = self.reachability.answered(open.epoch.load(Relaxed));
                    open.epoch.store(epoch, Relaxed);
                }
                sent
            }
            Channel::Alone(mut sender, epoch) => {
                let sent = sender.try_send_request(origin_form(request)?).await;
                if sent.is_ok() {
                    self.reachability.answered(epoch);
                }
                sent
            }
        };
        Ok(sent)
    }

    /// The open connection, or a new one. The attempt of a new one lasts until the first answer.
    async fn channel(&self, uri: &Uri) -> Result<(Channel, Option<Attempt>), BoxError> {
        let mut state = self.state.lock().await;
        if let Some(there) = &state.open {
            let ended = there.sender.is_closed();
            if !ended && !there.first.is_overdue() {
                return Ok((Channel::Shared(there.clone()), None));
            }
            if ended {
                self.reachability.lost(there.epoch.load(Relaxed));
            }
            let first = there.first.clone();
            state.answer_timeout.learn(&first);
            state.open = None;
        }
        let attempt = self.reachability.attempt().await.map_err(|why| BoxError::from(&*why))?;
        match self.connect(uri, attempt.epoch(), state.answer_timeout.longest()).await {
            Ok(channel) => {
                if let Channel::Shared(new) = &channel {
                    state.open = Some(new.clone());
                }
                Ok((channel, Some(attempt)))
            }
            Err(error) => {
                attempt.failed(&with_causes(&*error));
                Err(error)
            }
        }
    }

    async fn connect(&self, uri: &Uri, epoch: u64, longest: Duration) -> Result<Channel, BoxError> {
        let connecting = async {
            let stream = self.connector.clone().oneshot(uri.clone()).await?;
            match is_http2(&stream) {
                true => {
                    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                        .timer(TokioTimer::new())
                        .keep_alive_interval(PING_EVERY)
                        .keep_alive_timeout(PING_ANSWER)
                        .handshake(stream)
                        .await?;
                    tokio::spawn(async move {
                        let ended = connection.await;
                        debug!(?ended, "a connection to the API server ended");
                    });
                    let (epoch, first) = (AtomicU64::new(epoch), FirstAnswer::new(Some(longest)));
                    Ok(Channel::Shared(Open { sender, epoch: epoch.into(), first: first.into() }))
                }
                false => {
                    let (sender, connection) = http1::handshake(stream).await?;
                    // The connection ends with the answer.
                    tokio::spawn(connection);
                    Ok(Channel::Alone(sender, epoch))
                }
            }
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(format!("no connection within {}", humantime::format_duration(CONNECT)).into())
            }
        }
    }
}

fn is_http2(stream: &MaybeHttpsStream<TokioIo<TcpStream>>) -> bool {
    stream.connected().is_negotiated_h2()
}

/// HTTP/1.1 needs the server's name in a header, and only the path in the request line.
fn origin_form(mut request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let uri = request.uri();
    if let Some(authority) = uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default().try_into()?;
        let path = uri.path_and_query().cloned();
        request.headers_mut().entry(HOST).or_insert(host);
        *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::source::kubernetes::connection_pool::ConnectionPool;

    /// Longer than everything that the tests wait for.
    const LONG: Duration = Duration::from_secs(60);

    type Answer = Result<String, String>;

    /// An API server without HTTP/2, and a connector for it.
    async fn server() -> (TcpListener, ConnectionPool) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap()).parse().unwrap();
        (server, ConnectionPool::new(kube::Config::new(url)))
    }

    fn ask(connections: &ConnectionPool) -> JoinHandle<Answer> {
        let slot = connections.slot().unwrap();
        tokio::spawn(async move {
            let request = Request::get("/api").body(Vec::new()).unwrap();
            slot.client.request_text(request).await.map_err(|error| with_causes(&error))
        })
    }

    /// The connection of the next request to the server.
    async fn asked(server: &TcpListener) -> TcpStream {
        let (mut asked, _) = server.accept().await.unwrap();
        assert_ne!(asked.read(&mut [0; 1000]).await.unwrap(), 0);
        asked
    }

    async fn answer(asked: &mut TcpStream) {
        asked.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    }

    #[tokio::test]
    async fn one_request_that_hangs_holds_the_others_up_for_ten_seconds_and_its_answer_counts() {
        let (server, connections) = server().await;
        let before = tokio::time::Instant::now();
        let first = ask(&connections);
        let mut asked_first = asked(&server).await;

        tokio::time::pause();
        let after = tokio::time::Instant::now();
        let second = tokio::time::timeout(LONG, ask(&connections)).await.expect("it is held up");
        // The connection was opened between the two.
        assert!(before.elapsed() >= Duration::from_secs(10));
        assert!(after.elapsed() < Duration::from_secs(11));
        assert_eq!(
            second.unwrap().unwrap_err(),
            "ServiceError: the API server took a connection and did not answer within 10s"
        );
        assert!(connections.reachability().is_down(), "it waits before it tries again");

        tokio::time::resume();
        answer(&mut asked_first).await;
        assert_eq!(first.await.unwrap().unwrap(), "ok");
        assert!(!connections.reachability().is_down());
        let others = [ask(&connections), ask(&connections)];
        let mut both = [asked(&server).await, asked(&server).await];
        for asked in &mut both {
            answer(asked).await;
        }
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), "ok", "whoever wants to connects");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_without_an_answer_has_the_next_wait() {
        let (server, connections) = server().await;
        let first = ask(&connections);
        drop(asked(&server).await);
        first.await.unwrap().unwrap_err();
        assert!(connections.reachability().is_down());
    }
}
