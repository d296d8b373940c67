//! A connection to the API server, which all that have a place on it share; made anew when it ended.
//!
//! Whether a server speaks HTTP/2 turns out with the handshake. A client that makes a connection for
//! each request that finds none there, and drops all but one then, shakes hands as often as there are
//! watches: here the first makes it, and the others wait.

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
    client::conn::{http1, http2},
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
    client::in_words,
    reach::{Attempt, Reach},
};

/// Until a connection is there with TLS and all; kubectl's and client-go's is 30 s, and an agent
/// has others to ask. Range 1 to 60 s.
const CONNECT: Duration = Duration::from_secs(10);

/// How often the API server is asked whether it is still there, and how long it may take to say so:
/// one that vanished without a word is noticed after the sum. client-go's are 30 s and 15 s.
const PING_EVERY: Duration = Duration::from_secs(10);
/// See [`PING_EVERY`].
const PING_ANSWER: Duration = Duration::from_secs(10);

/// One connection, or none for now.
pub(super) struct Line {
    connector: HttpsConnector<HttpConnector>,
    reach: Reach,
    /// Held while it is made.
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    sender: http2::SendRequest<Body>,
    /// When the API server was last reached by it, as [`Reach`] counts.
    epoch: Arc<AtomicU64>,
}

/// What a request goes by.
enum Way {
    Shared(Open),
    /// A server that takes one request at a time.
    Alone(http1::SendRequest<Body>, u64),
}

impl Line {
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, reach: Reach) -> Self {
        Self { connector, reach, open: Mutex::default() }
    }

    /// The answer to a request: its head.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        loop {
            let (way, attempt) = self.way(request.uri()).await?;
            let sent = match way {
                Way::Shared(mut open) => {
                    let sent = open.sender.try_send_request(request).await;
                    if sent.is_ok() {
                        let epoch = self.reach.answered(open.epoch.load(Relaxed));
                        open.epoch.store(epoch, Relaxed);
                    }
                    sent
                }
                Way::Alone(mut sender, epoch) => {
                    let sent = sender.try_send_request(origin_form(request)?).await;
                    if sent.is_ok() {
                        self.reach.answered(epoch);
                    }
                    sent
                }
            };
            let mut unsent = match sent {
                Ok(response) => return Ok(response),
                Err(unsent) => unsent,
            };
            match (unsent.take_message(), attempt) {
                // It had ended before.
                (Some(message), None) => request = message,
                (_, attempt) => {
                    let error = unsent.into_error();
                    if let Some(attempt) = attempt {
                        attempt.failed(&in_words(&error));
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// The connection that there is, or a new one; then the attempt is over with the first answer.
    async fn way(&self, uri: &Uri) -> Result<(Way, Option<Attempt>), BoxError> {
        let mut open = self.open.lock().await;
        if let Some(there) = &*open {
            if !there.sender.is_closed() {
                return Ok((Way::Shared(there.clone()), None));
            }
            self.reach.lost(there.epoch.load(Relaxed));
            *open = None;
        }
        let attempt = self.reach.turn().await.map_err(|why| BoxError::from(&*why))?;
        match self.connect(uri, attempt.epoch()).await {
            Ok(way) => {
                if let Way::Shared(new) = &way {
                    *open = Some(new.clone());
                }
                Ok((way, Some(attempt)))
            }
            Err(error) => {
                attempt.failed(&in_words(&*error));
                Err(error)
            }
        }
    }

    async fn connect(&self, uri: &Uri, epoch: u64) -> Result<Way, BoxError> {
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
                    Ok(Way::Shared(Open { sender, epoch: Arc::new(AtomicU64::new(epoch)) }))
                }
                false => {
                    let (sender, connection) = http1::handshake(stream).await?;
                    // It ends with its answer.
                    tokio::spawn(connection);
                    Ok(Way::Alone(sender, epoch))
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

/// HTTP/1.1 names the server in a header.
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
