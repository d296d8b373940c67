//! Connections to the API server, each shared by many watches.
//!
//! A watch is a request without an end. Over HTTP/1.1 each watch would need a connection of its
//! own, two for every service that callers ask for, on every node. Over HTTP/2 some dozens share
//! one (`connection`). An API server accepts only a limited number of concurrent requests on one
//! connection, and the others wait silently. So a connection has a fixed number of slots.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use kube::{Client, Config, client::ConfigExt};
use tower::{BoxError, ServiceBuilder};
use xxhash_rust::xxh3::Xxh3;

use super::{
    connection::SharedConnection,
    error_chain::with_causes,
    reachability::Reachability,
    request_queue::{RequestQueue, WIDTH},
};

/// Slots per connection, for two watches each. A kube-apiserver takes 100 concurrent requests on a
/// connection (`--http2-max-streams-per-connection`), as HAProxy does; nginx takes 128. Each
/// further connection costs a handshake of every node after an outage. Range 1 to 50.
const SLOTS: usize = 48;

/// Connections to one API server.
pub(super) struct ConnectionPool {
    config: Config,
    reachability: Reachability,
    queue: RequestQueue,
    open: Mutex<Vec<Open>>,
}

struct Open {
    client: Client,
    taken: Weak<()>,
}

/// A slot on a connection, for two watches. A control plane has four on its only one.
pub(super) struct StreamSlot {
    pub(super) client: Client,
    _taken: Arc<()>,
}

impl ConnectionPool {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            reachability: Reachability::default(),
            queue: RequestQueue::new(WIDTH),
            open: Mutex::default(),
        }
    }

    pub(super) fn reachability(&self) -> &Reachability {
        &self.reachability
    }

    pub(super) fn queue(&self) -> &RequestQueue {
        &self.queue
    }

    /// The API server's URL, for a person.
    pub(super) fn server(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// Names the cluster: a hash of its URL and its certificate authorities. Pods of one cluster have both in common,
    /// and need no right to read it. Two clusters rarely have.
    pub(super) fn origin(&self) -> String {
        let mut hash = Xxh3::new();
        hash.update(self.server().as_bytes());
        self.config.root_cert.iter().flatten().for_each(|certificate| hash.update(certificate));
        format!("{:016x}", hash.digest())
    }

    /// A free slot; on a new connection, if no open one has any.
    pub(super) fn slot(&self) -> Result<StreamSlot, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| open.taken.strong_count() > 0);
        for Open { client, taken } in open.iter() {
            if taken.strong_count() < SLOTS
                && let Some(taken) = taken.upgrade()
            {
                return Ok(StreamSlot { client: client.clone(), _taken: taken });
            }
        }
        let client =
            client(&self.config, &self.reachability).map_err(|error| with_causes(&*error))?;
        let taken = Arc::new(());
        open.push(Open { client: client.clone(), taken: Arc::downgrade(&taken) });
        Ok(StreamSlot { client, _taken: taken })
    }
}

fn client(config: &Config, reachability: &Reachability) -> Result<Client, BoxError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into()?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = tls.enable_http1().enable_http2().wrap_connector(tcp);
    let connection = Arc::new(SharedConnection::new(connector, reachability.clone()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_response(keep_retry_after)
        .service_fn(move |request| {
            let connection = connection.clone();
            async move { connection.send(request).await }
        });
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// A busy API server tells in a header how long to wait, but kube reads only the body. So this
/// copies the header into the body.
fn keep_retry_after(response: Response<Incoming>) -> Response<Either<Full<Bytes>, Incoming>> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let seconds: Option<u32> = header(RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let with_causes = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    match seconds {
        Some(seconds) if response.status() == StatusCode::TOO_MANY_REQUESTS && !with_causes => {
            let status = serde_json::json!({
                "kind": "Status",
                "status": "Failure",
                "code": StatusCode::TOO_MANY_REQUESTS.as_u16(),
                "message": "Too many requests",
                "details": { "retryAfterSeconds": seconds }
            });
            response.map(|_| Either::Left(Full::from(status.to_string())))
        }
        _ => response.map(Either::Right),
    }
}
