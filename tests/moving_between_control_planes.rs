//! An agent that moves from one control plane to another that has read less of the cluster. The processes are real,
//! and the API server is one of this test, which tells one of them later than the other.

mod support;

use std::{
    convert::Infallible,
    fs,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    routing::get,
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use support::{Agent as Process, POINTSMAN};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one reader of the API server is told: a version, and the last parts of the addresses at this version.
type Told = (u64, Vec<u8>);

/// An API server with one Service. Who has the token `behind` reads it as it was until [`ApiServer::catch_up`].
struct ApiServer {
    address: String,
    ahead: watch::Sender<Told>,
    behind: watch::Sender<Told>,
}

#[derive(Clone)]
struct Readers {
    ahead: watch::Receiver<Told>,
    behind: watch::Receiver<Told>,
    /// The tokens that were seen.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Readers {
    fn of(&self, headers: &HeaderMap) -> watch::Receiver<Told> {
        let token = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
        self.seen.lock().unwrap().push(token.to_owned());
        match token {
            "Bearer ahead" => self.ahead.clone(),
            "Bearer behind" => self.behind.clone(),
            other => panic!("token {other:?}"),
        }
    }
}

impl ApiServer {
    async fn with(addresses: &[u8]) -> Self {
        let begin = (10, addresses.to_vec());
        let (ahead, behind) = (watch::Sender::new(begin.clone()), watch::Sender::new(begin));
        let readers =
            Readers { ahead: ahead.subscribe(), behind: behind.subscribe(), seen: Arc::default() };
        let services =
            async |State(readers): State<Readers>, headers: HeaderMap, query: RawQuery| {
                let told = readers.of(&headers);
                answer(told, &query, "ServiceList", |_, _| service())
            };
        let slices = async |State(readers): State<Readers>, headers: HeaderMap, query: RawQuery| {
            let told = readers.of(&headers);
            answer(told, &query, "EndpointSliceList", slice)
        };
        let router = Router::new()
            .route("/api/v1/services", get(services))
            .route("/apis/discovery.k8s.io/v1/endpointslices", get(slices))
            .fallback(forbidden)
            .with_state(readers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, ahead, behind }
    }

    /// Only who is ahead is told.
    fn changes(&self, version: u64, addresses: &[u8]) {
        self.ahead.send_replace((version, addresses.to_vec()));
    }

    fn catch_up(&self) {
        let now = self.ahead.borrow().clone();
        self.behind.send_replace(now);
    }

    /// A control plane at the socket of this folder, with this token.
    fn plane(&self, folder: &Arc<TempDir>, token: &str) -> Process {
        let kubeconfig = folder.path().join(format!("{token}.yaml"));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut command = Command::new(POINTSMAN);
        command.args(["control-plane", "--admin", "127.0.0.1:0"]);
        command.arg(format!("--source=kubernetes:kubeconfig={}", kubeconfig.display()));
        command.arg(format!("--listen=unix://{}", folder.path().join("xds.sock").display()));
        let plane = Process::spawn(folder.clone(), command);
        plane.logs("listening");
        plane
    }
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "cart", "namespace": "shop", "uid": "1", "resourceVersion": "5" },
        "spec": {
            "clusterIP": "10.96.0.9",
            "selector": { "app": "cart" },
            "ports": [{ "name": "grpc", "port": 8080, "protocol": "TCP" }],
        },
    })
}

/// A control plane does without the Pods and Nodes that it may not read.
async fn forbidden() -> (StatusCode, String) {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": "Forbidden",
        "message": "no right",
        "code": 403,
    });
    (StatusCode::FORBIDDEN, status.to_string())
}

fn slice(version: u64, addresses: &[u8]) -> Value {
    let endpoint = |last: &u8| json!({ "addresses": [format!("10.1.0.{last}")], "conditions": { "ready": true, "serving": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "cart-1",
            "namespace": "shop",
            "resourceVersion": version.to_string(),
            "labels": { "kubernetes.io/service-name": "cart" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "grpc", "port": 8080, "protocol": "TCP" }],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// A list, or a watch: each change is a modification, and of what does not change a bookmark.
fn answer(
    mut told: watch::Receiver<Told>,
    RawQuery(query): &RawQuery,
    kind: &str,
    object: fn(u64, &[u8]) -> Value,
) -> Body {
    let query = query.as_deref().unwrap_or_default();
    let (version, addresses) = told.borrow_and_update().clone();
    if !query.contains("watch=true") {
        let list = json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": { "resourceVersion": version.to_string() },
            "items": [object(version, &addresses)],
        });
        return Body::from(list.to_string());
    }
    if !query.contains(&format!("resourceVersion={version}&"))
        && !query.ends_with(&format!("resourceVersion={version}"))
    {
        // It changed between the list and the watch.
        told.mark_changed();
    }
    let is_slice = kind == "EndpointSliceList";
    let events = futures_util::stream::unfold(told, move |mut told| async move {
        told.changed().await.ok()?;
        let (version, addresses) = told.borrow_and_update().clone();
        let event = match is_slice {
            true => json!({ "type": "MODIFIED", "object": object(version, &addresses) }),
            false => {
                let mut bookmark = object(version, &addresses);
                bookmark["metadata"]["resourceVersion"] = version.to_string().into();
                json!({ "type": "BOOKMARK", "object": bookmark })
            }
        };
        Some((Ok::<_, Infallible>(format!("{event}\n")), told))
    });
    Body::from_stream(events)
}

/// Picks until this address comes.
async fn picks(agent: &Process, address: &str) {
    let mut http = agent.http().await;
    let begin = Instant::now();
    loop {
        let (picked, lease) = http.pick("cart.shop").await;
        http.report(&lease, "SUCCESS").await;
        if picked == address {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{picked}, not {address}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Picks until the agent has logged this, and never this address.
async fn never_picks_until(agent: &Process, address: &str, logged: &str) {
    let mut http = agent.http().await;
    let begin = Instant::now();
    while !agent.has_logged(logged) {
        let (picked, lease) = http.pick("cart.shop").await;
        http.report(&lease, "SUCCESS").await;
        assert_ne!(picked, address);
        assert!(begin.elapsed() < PATIENCE, "it has not logged {logged:?}");
    }
}

async fn never_picks(agent: &Process, address: &str) {
    let mut http = agent.http().await;
    for _ in 0..200 {
        let (picked, lease) = http.pick("cart.shop").await;
        http.report(&lease, "SUCCESS").await;
        assert_ne!(picked, address);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_endpoint_is_not_picked_again_while_the_next_control_plane_is_behind() {
    let api = ApiServer::with(&[1, 2, 3]).await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let ahead = api.plane(&folder, "ahead");
    let socket = folder.path().join("agent.sock");
    let mut command = Command::new(POINTSMAN);
    command.args(["agent", "--admin", "127.0.0.1:0"]);
    command.arg(format!("--socket={}", socket.display()));
    command.arg(format!("--source=xds:unix://{}", folder.path().join("xds.sock").display()));
    let agent = Process::spawn(folder.clone(), command);
    agent.logs("listening");
    picks(&agent, "10.1.0.1:8080").await;
    api.changes(20, &[2, 3, 4]);
    picks(&agent, "10.1.0.4:8080").await;
    never_picks(&agent, "10.1.0.1:8080").await;

    drop(ahead.kill());
    let _behind = api.plane(&folder, "behind");
    let behind = "it has read less than the control plane before it";
    never_picks_until(&agent, "10.1.0.1:8080", behind).await;
    never_picks(&agent, "10.1.0.1:8080").await;
    picks(&agent, "10.1.0.4:8080").await;

    api.changes(21, &[2, 3, 5]);
    api.catch_up();
    never_picks_until(&agent, "10.1.0.1:8080", "it has caught up").await;
    picks(&agent, "10.1.0.5:8080").await;
    never_picks(&agent, "10.1.0.4:8080").await;
}
