//! How the API server is reached: as the pod that this is, or as a kubeconfig file says.
//!
//! A watch is a request without an end. By HTTP/1.1 each would be a connection of its own, two for
//! every service asked for on every node; by HTTP/2 some dozens share one (`line`). An API server takes
//! only so many requests at a time on one connection, and those above wait without a word, so that
//! connections are dealt out by seats.

use std::{
    env,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use kube::{
    Client, Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

use super::{
    cluster::Cluster,
    line::Line,
    reach::Reach,
    turns::{Turns, WIDTH},
};

/// Who shares a connection, each with two watches: a kube-apiserver takes 100 requests at a time on
/// one (`--http2-max-streams-per-connection`), as HAProxy does; nginx takes 128. Every further connection is
/// a handshake of every node after a cut. Range 1 to 50.
const SEATS: usize = 48;

/// Files of a pod's service account; Kubernetes mounts them here.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Reads how the cluster is reached. What is explicit wins: a kubeconfig that was named, then
/// `$KUBECONFIG`; then the pod's own account; then `~/.kube/config`.
pub(super) async fn config(cluster: &Cluster) -> Result<Config, String> {
    let options =
        KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &cluster.kubeconfig {
        let read = Kubeconfig::read_from(path).map_err(|error| in_words(&error))?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.map_err(|error| format!("{}: {}", path.display(), in_words(&error)));
    }
    let named = env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    let pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(POD_TOKEN).exists();
    if pod && !named && cluster.context.is_none() {
        return Config::incluster()
            .map_err(|error| format!("this pod's service account: {}", in_words(&error)));
    }
    Config::from_kubeconfig(&options).await.map_err(|error| {
        format!(
            "{}: name a file with kubernetes:/PATH or $KUBECONFIG, or run the agent in a pod with \
             a service account",
            in_words(&error)
        )
    })
}

/// Connections to one API server.
pub(super) struct Connections {
    config: Config,
    reach: Reach,
    turns: Turns,
    open: Mutex<Vec<Open>>,
}

struct Open {
    client: Client,
    taken: Weak<()>,
}

/// A place on a connection, for two watches.
pub(super) struct Seat {
    pub(super) client: Client,
    _taken: Arc<()>,
}

impl Connections {
    pub(super) fn new(config: Config) -> Self {
        Self { config, reach: Reach::default(), turns: Turns::new(WIDTH), open: Mutex::default() }
    }

    /// Whether the API server is reached, by any of them.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Who asks next, over any of them.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Where the API server is, for a person.
    pub(super) fn server(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// A place on a connection that has one left; on a new one, where none has.
    pub(super) fn seat(&self) -> Result<Seat, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| open.taken.strong_count() > 0);
        for Open { client, taken } in open.iter() {
            if taken.strong_count() < SEATS
                && let Some(taken) = taken.upgrade()
            {
                return Ok(Seat { client: client.clone(), _taken: taken });
            }
        }
        let client = client(&self.config, &self.reach).map_err(|error| in_words(&*error))?;
        let taken = Arc::new(());
        open.push(Open { client: client.clone(), taken: Arc::downgrade(&taken) });
        Ok(Seat { client, _taken: taken })
    }
}

fn client(config: &Config, reach: &Reach) -> Result<Client, BoxError> {
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
    let line = Arc::new(Line::new(connector, reach.clone()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_response(keep_retry_after)
        .service_fn(move |request| {
            let line = line.clone();
            async move { line.send(request).await }
        });
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// An API server without time says in a header for how long it wants to be left alone, where kube
/// hears the body only: the body says it, too, from here on.
fn keep_retry_after(response: Response<Incoming>) -> Response<Either<Full<Bytes>, Incoming>> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let seconds: Option<u32> = header(RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let in_words = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    match seconds {
        Some(seconds) if response.status() == StatusCode::TOO_MANY_REQUESTS && !in_words => {
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

/// An error with what caused it, each part once.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
