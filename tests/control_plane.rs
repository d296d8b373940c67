//! `pointsman control-plane` with clients that do what no stock client does. scripts/xds-peers has the
//! stock ones.

mod support;

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use futures_util::StreamExt;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustix::process::{Resource, getrlimit, setrlimit};
use support::{Agent as Process, POINTSMAN};
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::mpsc, time::timeout};
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    codegen::tokio_stream::wrappers::UnboundedReceiverStream,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use xds::{
    proto::{
        envoy::{
            config::{
                cluster::v3::Cluster, core::v3::Node, endpoint::v3::ClusterLoadAssignment,
                listener::v3::Listener,
            },
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            },
        },
        google::rpc,
    },
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER},
    server::limits,
};

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
const EDS: &str = "/envoy.service.endpoint.v3.EndpointDiscoveryService/";
const CART: &str = "services: [{name: cart.shop, ports: [{name: grpc, port: 8080}], endpoints: \
                    [{address: 10.1.2.3}, {address: 10.1.2.4}]}]";
/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what must not come.
const MOMENT: Duration = Duration::from_millis(300);

struct ControlPlane(Process);

impl ControlPlane {
    fn start(services: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), services);
        let plane = Self::in_folder(folder);
        plane.0.logs("listening");
        plane
    }

    fn in_folder(folder: impl Into<Arc<TempDir>>) -> Self {
        let folder = folder.into();
        let mut command = Command::new(POINTSMAN);
        command.args(["control-plane", "--admin", "127.0.0.1:0"]);
        command.arg(format!("--source=file:{}", folder.path().join("services.yaml").display()));
        command.arg(format!("--listen=unix://{}", socket(folder.path()).display()));
        Self(Process::spawn(folder, command))
    }

    fn publishes(&self, services: &str) {
        write(self.0.folder.path(), services);
    }

    async fn channel(&self) -> Channel {
        let path = socket(self.0.folder.path());
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap()
    }

    async fn delta(&self, method: &str) -> Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
        Client::open(self.channel().await, method).await
    }

    async fn sotw(&self, method: &str) -> Client<DiscoveryRequest, DiscoveryResponse> {
        Client::open(self.channel().await, method).await
    }
}

fn socket(folder: &Path) -> std::path::PathBuf {
    folder.join("xds.sock")
}

fn write(folder: &Path, services: &str) {
    let path = folder.join("services.yaml");
    let new = path.with_extension("new");
    fs::write(&new, services).unwrap();
    fs::rename(new, path).unwrap();
}

struct Client<Q, S> {
    requests: mpsc::UnboundedSender<Q>,
    responses: Streaming<S>,
}

impl<Q, S> Client<Q, S>
where
    Q: Message + Default + 'static,
    S: Message + Default + std::fmt::Debug + 'static,
{
    async fn open(channel: Channel, method: &str) -> Self {
        let (requests, sent) = mpsc::unbounded_channel();
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(method).unwrap();
        let codec: ProstCodec<Q, S> = ProstCodec::default();
        let sent = tonic::Request::new(UnboundedReceiverStream::new(sent));
        let opened = grpc.streaming(sent, path, codec).await;
        Self { requests, responses: opened.unwrap().into_inner() }
    }

    fn send(&self, request: Q) {
        self.requests.send(request).unwrap();
    }

    async fn next(&mut self) -> Result<S, Status> {
        let next = timeout(PATIENCE, self.responses.next()).await;
        next.expect("a response in time").expect("an open stream")
    }

    async fn says_nothing(&mut self) {
        let said = timeout(MOMENT, self.responses.next()).await;
        assert!(said.is_err(), "{said:?}");
    }
}

fn node(agent: &str) -> Option<Node> {
    Some(Node { id: "node-1".into(), user_agent_name: agent.into(), ..Node::default() })
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("gRPC"),
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn ask(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node("gRPC"),
        type_url: type_url.into(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn reject(response: DeltaDiscoveryResponse, why: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        error_detail: Some(rpc::Status { message: why.into(), ..Default::default() }),
        ..Default::default()
    }
}

fn addresses(body: &[u8]) -> usize {
    let assignment = ClusterLoadAssignment::decode(body).unwrap();
    assignment.endpoints.iter().map(|place| place.lb_endpoints.len()).sum()
}

fn first(response: &DeltaDiscoveryResponse) -> &[u8] {
    &response.resources[0].resource.as_ref().unwrap().value
}

#[tokio::test]
async fn a_grpc_client_finds_its_way_from_a_name_to_endpoints() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.sotw(&format!("{ADS}StreamAggregatedResources")).await;
    for name in
        ["cart.shop:8080", "cart.shop:grpc", "cart.shop", "cart.shop.svc.cluster.local:8080"]
    {
        let mut client = plane.sotw(&format!("{ADS}StreamAggregatedResources")).await;
        client.send(ask(LISTENER, &[name]));
        let response = client.next().await.unwrap();
        let listener = Listener::decode(&*response.resources[0].value).unwrap();
        assert_eq!(listener.name, name);
    }
    client.send(ask(CLUSTER, &["cart.shop:8080"]));
    let response = client.next().await.unwrap();
    assert_eq!(Cluster::decode(&*response.resources[0].value).unwrap().name, "cart.shop:8080");
    client.send(ask(ASSIGNMENT, &["cart.shop:8080"]));
    let response = client.next().await.unwrap();
    assert_eq!(addresses(&response.resources[0].value), 2);
}

#[tokio::test]
async fn a_change_of_the_file_reaches_both_variants_of_the_protocol() {
    let plane = ControlPlane::start(CART);
    let mut delta = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    let mut sotw = plane.sotw(&format!("{EDS}StreamEndpoints")).await;
    delta.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    sotw.send(ask("", &["cart.shop:8080"]));
    assert_eq!(addresses(first(&delta.next().await.unwrap())), 2);
    assert_eq!(addresses(&sotw.next().await.unwrap().resources[0].value), 2);
    plane.publishes(&CART.replace(", {address: 10.1.2.4}", ""));
    assert_eq!(addresses(first(&delta.next().await.unwrap())), 1);
    assert_eq!(addresses(&sotw.next().await.unwrap().resources[0].value), 1);
    plane.publishes("services: []");
    assert_eq!(delta.next().await.unwrap().removed_resources, ["cart.shop:8080"]);
}

#[tokio::test]
async fn nothing_is_served_before_the_source_has_answered() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let plane = ControlPlane::in_folder(folder.clone());
    plane.0.logs("listening");
    let (status, text) = plane.0.admin_page("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("no answer so far from file:"), "{text}");
    let method = format!("{ADS}DeltaAggregatedResources");
    let mut connected = Box::pin(plane.delta(&method));
    assert!(timeout(MOMENT, &mut connected).await.is_err(), "the connection waits");
    write(folder.path(), CART);
    let mut client = timeout(PATIENCE, connected).await.expect("a connection");
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    assert_eq!(addresses(first(&client.next().await.unwrap())), 2);
    assert_eq!(plane.0.admin_page("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_file_that_turns_wrong_changes_nothing_and_is_named() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    client.next().await.unwrap();
    plane.publishes("services: [{name: cart}]");
    plane.0.logs("services.yaml");
    client.says_nothing().await;
}

#[tokio::test]
async fn a_rejection_is_logged_and_counted_and_the_client_gets_the_next_change() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    let response = client.next().await.unwrap();
    client.send(reject(response, "no\nsuch \u{1b}[31mthing"));
    plane.0.metrics_say("pointsman_control_plane_rejections_total{type=\"assignment\"} 1").await;
    let line = plane.0.logs("a client rejected a response");
    assert!(line.contains("node-1") && line.contains("cart.shop:8080"), "{line}");
    assert!(line.contains("such") && !line.contains('\u{1b}'), "one line, and no colours: {line}");
    client.says_nothing().await;
    plane.publishes(&CART.replace(", {address: 10.1.2.4}", ""));
    assert_eq!(addresses(first(&client.next().await.unwrap())), 1);
}

#[tokio::test]
async fn what_a_stream_may_not_ask_for_ends_that_stream_with_the_reason() {
    let plane = ControlPlane::start(CART);
    let mut quiet = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    quiet.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    quiet.next().await.unwrap();

    let mut greedy = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    let names: Vec<String> = (0..=limits::MOST_NAMES).map(|n| n.to_string()).collect();
    greedy.send(subscribe(ASSIGNMENT, &names.iter().map(String::as_str).collect::<Vec<_>>()));
    let status = greedy.next().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("20000 resources"), "{status}");

    let mut wrong = plane.delta(&format!("{EDS}DeltaEndpoints")).await;
    wrong.send(subscribe(CLUSTER, &[]));
    let status = wrong.next().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("has only"), "{status}");

    let mut nameless = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    nameless.send(subscribe("", &[]));
    assert_eq!(nameless.next().await.unwrap_err().code(), Code::ResourceExhausted);

    plane.publishes(&CART.replace(", {address: 10.1.2.4}", ""));
    assert_eq!(addresses(first(&quiet.next().await.unwrap())), 1, "others go on");
}

#[tokio::test]
async fn a_method_that_is_not_there_is_answered_with_those_that_are() {
    let plane = ControlPlane::start(CART);
    let mut grpc = Grpc::new(plane.channel().await);
    grpc.ready().await.unwrap();
    let path =
        PathAndQuery::from_static("/envoy.service.listener.v3.ListenerDiscoveryService/Stream");
    let codec: ProstCodec<DiscoveryRequest, DiscoveryResponse> = ProstCodec::default();
    let none = tonic::Request::new(futures_util::stream::empty());
    let status = grpc.streaming(none, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("AggregatedDiscoveryService"), "{status}");
}

#[tokio::test]
async fn streams_that_never_read_cost_little_and_hold_nobody_up() {
    let plane = ControlPlane::start(CART);
    let mut silent = Vec::new();
    for _ in 0..200 {
        let client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
        client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
        silent.push(client);
    }
    let mut reader = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    reader.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    reader.next().await.unwrap();
    plane
        .0
        .metrics_say("pointsman_control_plane_streams{client=\"grpc\",variant=\"delta\"} 201")
        .await;
    let before = resident(&plane.0);
    for round in 0..20 {
        let other = format!("10.1.2.{}", 10 + round);
        plane.publishes(&CART.replace("10.1.2.4", &other));
        let response = reader.next().await.unwrap();
        reader.send(DeltaDiscoveryRequest {
            type_url: ASSIGNMENT.into(),
            response_nonce: response.nonce,
            ..Default::default()
        });
    }
    let grown = resident(&plane.0).saturating_sub(before);
    assert!(grown < 200 * 100, "{grown} KiB for 200 streams that do not read");
}

/// More of them than the control plane has threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_send_requests_without_end_hold_nobody_up() {
    let plane = ControlPlane::start(CART);
    for _ in 0..4 {
        let mut grpc = Grpc::new(plane.channel().await);
        grpc.ready().await.unwrap();
        let codec: ProstCodec<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
            ProstCodec::default();
        let path = PathAndQuery::try_from(format!("{ADS}DeltaAggregatedResources")).unwrap();
        let flood = (0_u64..).map(|n| subscribe(ASSIGNMENT, &[&(n % 1000).to_string()]));
        let flood = tonic::Request::new(futures_util::stream::iter(flood));
        tokio::spawn(async move {
            let mut responses = grpc.streaming(flood, path, codec).await.unwrap().into_inner();
            while responses.next().await.is_some() {}
        });
    }
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    for round in 0..5 {
        // The brake may keep some of those that went.
        assert!(addresses(first(&client.next().await.unwrap())) >= 2);
        plane.publishes(&CART.replace("10.1.2.4", &format!("10.1.2.{}", 10 + round)));
    }
}

#[tokio::test]
async fn what_a_client_calls_itself_is_cut_and_its_rejections_fill_no_log() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.sotw(&format!("{ADS}StreamAggregatedResources")).await;
    let id = "n".repeat(100_000);
    let mut request = ask(LISTENER, &["cart.shop:8080"]);
    request.node = Some(Node { id, ..Node::default() });
    client.send(request);
    let response = client.next().await.unwrap();
    for _ in 0..1000 {
        client.send(DiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: Some(rpc::Status { message: "no".into(), ..Default::default() }),
            ..ask(LISTENER, &["cart.shop:8080"])
        });
    }
    client.send(DiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..ask(LISTENER, &["cart.shop:8080", "cart.shop"])
    });
    client.next().await.unwrap();
    let lines = plane.0.logged(&["a client rejected"]);
    assert_eq!(lines.len(), 1, "the same rejection is told once");
    assert!(lines[0].len() < 1000, "{}", lines[0]);
    plane.0.metrics_say("pointsman_control_plane_rejections_total{type=\"listener\"} 1").await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let plane = ControlPlane::start(CART);
    let mut silent = UnixStream::connect(socket(plane.0.folder.path())).await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
    timeout(PATIENCE, closed).await.expect("it is closed after 10 s").ok();
}

#[tokio::test]
async fn one_socket_has_one_control_plane() {
    let plane = ControlPlane::start(CART);
    let mut second = ControlPlane::in_folder(plane.0.folder.clone());
    assert_eq!(second.0.ended().code(), Some(1));
    assert!(second.0.has_logged("is served by a live agent"), "{:?}", second.0.logged(&[]));
}

#[tokio::test]
async fn sigterm_ends_it_at_once_and_the_next_serves_at_the_same_socket() {
    let mut plane = ControlPlane::start(CART);
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    let known = client.next().await.unwrap();
    plane.0.terminate();
    assert_eq!(plane.0.ended().code(), Some(0));
    let next = ControlPlane::in_folder(plane.0.folder.clone());
    next.0.logs("listening");
    let mut client = next.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    let mut resumed = subscribe(ASSIGNMENT, &["cart.shop:8080"]);
    let versions = known.resources.into_iter().map(|sent| (sent.name, sent.version));
    resumed.initial_resource_versions = versions.collect();
    client.send(resumed);
    client.says_nothing().await;
}

#[tokio::test]
async fn an_envoy_gets_an_empty_assignment_for_what_is_no_service_and_the_real_one_later() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.sotw(&format!("{ADS}StreamAggregatedResources")).await;
    client.send(DiscoveryRequest { node: node("envoy"), ..ask(ASSIGNMENT, &["pay.shop:80"]) });
    let response = client.next().await.unwrap();
    assert_eq!(addresses(&response.resources[0].value), 0);
    client.send(DiscoveryRequest {
        response_nonce: response.nonce,
        ..ask(ASSIGNMENT, &["pay.shop:80"])
    });
    plane.publishes(&CART.replace("cart", "pay").replace("8080", "80"));
    let response = client.next().await.unwrap();
    assert_eq!(addresses(&response.resources[0].value), 2);
    client.send(DiscoveryRequest {
        response_nonce: response.nonce,
        ..ask(ASSIGNMENT, &["pay.shop:80"])
    });
    plane.publishes("services: []");
    assert_eq!(addresses(&client.next().await.unwrap().resources[0].value), 0, "it is drained");
}

#[tokio::test]
async fn the_page_lists_every_metric() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
    let response = client.next().await.unwrap();
    client.send(reject(response, "no"));
    plane.0.metrics_say("pointsman_control_plane_rejections_total{type=\"assignment\"} 1").await;
    let page = include_str!("../docs/control-plane.md");
    let (_, text) = plane.0.admin_page("/metrics").await;
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}")), "{name} is not in docs/control-plane.md");
    }
}

/// The streams of the page of clients whose node has this id, once there are so many.
async fn clients(plane: &ControlPlane, node: &str, streams: usize) -> Vec<serde_json::Value> {
    for _ in 0..PATIENCE.as_millis() / 10 {
        let (_, page) = plane.0.admin_page(&format!("/clients.json?node={node}")).await;
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let listed = page["streams"].as_array().unwrap();
        if listed.len() == streams {
            return listed.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {streams} streams of {node}");
}

/// What the page says of the one type of a node's one stream, once this is true of it.
async fn of_client(
    plane: &ControlPlane,
    node: &str,
    is_it: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let mut last = serde_json::Value::Null;
    for _ in 0..PATIENCE.as_millis() / 10 {
        last = clients(plane, node, 1).await[0]["types"][0].take();
        if is_it(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{last}");
}

fn accept(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_a_client_answers_and_does_not_answer_is_seen() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.delta(&format!("{ADS}DeltaAggregatedResources")).await;
    client.send(subscribe(ASSIGNMENT, &["cart.shop:8080", "no.such:1"]));
    let [found, missing] = [client.next().await.unwrap(), client.next().await.unwrap()];
    let open = of_client(&plane, "node-1", |it| it["unanswered"] == 2).await;
    assert_eq!((&open["type"], &open["named"]), (&"assignment".into(), &2.into()));
    assert_eq!(open["held"], 1, "{open}");
    assert!(open["unansweredSeconds"].as_f64().unwrap() > 0.0, "{open}");
    let unanswered = |count: u32| {
        format!(
            "pointsman_control_plane_unanswered_responses{{type=\"assignment\",client=\"grpc\"}} {count}"
        )
    };
    plane.0.metrics_say(&unanswered(2)).await;
    let held = "pointsman_control_plane_held_resources{type=\"assignment\",client=\"grpc\"} 1";
    plane.0.metrics_say(held).await;
    let bytes = found.encoded_len() + missing.encoded_len();
    let of_type = "{type=\"assignment\"}";
    let sent = format!("pointsman_control_plane_responses_bytes_total{of_type} {bytes}");
    plane.0.metrics_say(&sent).await;

    client.send(accept(&found));
    let acks = |count: u32| format!("pointsman_control_plane_ack_seconds_count{of_type} {count}");
    plane.0.metrics_say(&acks(1)).await;
    plane.0.metrics_say(&unanswered(1)).await;
    client.send(reject(missing, "<b>no\nsuch</b>"));
    let rejected = of_client(&plane, "node-1", |it| it["unanswered"] == 0).await;
    assert_eq!(rejected["rejected"]["message"], "<b>no\nsuch</b>");
    assert_eq!(rejected["rejected"]["resources"], serde_json::json!(["no.such:1"]));
    plane.0.metrics_say(&format!("pointsman_control_plane_rejections_total{of_type} 1")).await;
    plane.0.metrics_say(&acks(1)).await;
    let (_, page) = plane.0.admin_page("/clients").await;
    assert!(page.contains("no.such:1: &lt;b&gt;no\\nsuch&lt;/b&gt;"), "{page}");

    drop(client);
    clients(&plane, "node-1", 0).await;
    plane
        .0
        .metrics_say("pointsman_control_plane_streams{client=\"grpc\",variant=\"delta\"} 0")
        .await;
}

#[tokio::test]
async fn the_page_of_clients_shows_both_variants_and_escapes_names() {
    let plane = ControlPlane::start(CART);
    let mut client = plane.sotw(&format!("{ADS}StreamAggregatedResources")).await;
    let named = |id: &str| Some(Node { id: id.into(), ..node("envoy").unwrap() });
    client.send(DiscoveryRequest {
        node: named("<script>alert(1)</script>"),
        ..ask(ASSIGNMENT, &["cart.shop:8080"])
    });
    let response = client.next().await.unwrap();
    let (_, page) = plane.0.admin_page("/clients").await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;<td>envoy, sotw"), "{page}");
    assert!(!page.contains("<script>"), "{page}");
    let id = "%3Cscript%3Ealert(1)%3C/script%3E";
    let open = of_client(&plane, id, |it| it["unanswered"] == 1).await;
    assert_eq!(open["version"], *response.version_info);
    client.send(DiscoveryRequest {
        response_nonce: response.nonce,
        ..ask(ASSIGNMENT, &["cart.shop:8080"])
    });
    of_client(&plane, id, |it| it["unanswered"] == 0).await;
    let (status, front) = plane.0.admin_page("/").await;
    assert!(
        status == 200 && front.contains("<b>ready</b>") && front.contains("/clients"),
        "{front}"
    );
}

/// A control plane on TCP, and its address: there a client has the address that it connects from.
fn on_tcp() -> (ControlPlane, String) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), CART);
    let mut command = Command::new(POINTSMAN);
    command.args(["control-plane", "--admin", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    command.arg(format!("--source=file:{}", folder.path().join("services.yaml").display()));
    let plane = ControlPlane(Process::spawn(folder, command));
    let line = plane.0.logs("listening");
    let address = line.split("listen=").nth(1).unwrap().split_whitespace().next().unwrap();
    (plane, address.to_owned())
}

/// A connection from 127.0.0.`last`.
async fn channel_from(last: u8, address: &str) -> Channel {
    let local = std::net::IpAddr::from([127, 0, 0, last]);
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    endpoint.local_address(Some(local)).connect().await.unwrap()
}

#[tokio::test]
async fn who_has_many_streams_displaces_nobody_from_the_page_of_clients() {
    let (plane, address) = on_tcp();
    let method = format!("{ADS}DeltaAggregatedResources");
    let open = async |last: u8, node: &str| {
        let channel = channel_from(last, &address).await;
        let mut client: Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
            Client::open(channel, &method).await;
        let node = Some(Node { id: node.into(), ..Node::default() });
        client.send(DeltaDiscoveryRequest { node, ..subscribe(ASSIGNMENT, &["cart.shop:8080"]) });
        client.next().await.unwrap();
        client
    };
    let mut streams = Vec::new();
    for _ in 0..250 {
        streams.push(open(2, "greedy").await);
    }
    streams.push(open(3, "late").await);
    let (_, page) = plane.0.admin_page("/clients").await;
    assert!(page.contains("251 streams of 2 peers. 51 of them are not listed"), "{page}");
    assert!(page.contains("<td>127.0.0.3<td>late"), "{page}");
    assert!(page.contains("<td>127.0.0.2<td>250"), "{page}");
}

/// One peer takes all names and all connections that it can get. Another is served as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_all_there_is_leaves_enough_for_another() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let (plane, address) = on_tcp();
    let from = async |last: u8| {
        Client::open(channel_from(last, &address).await, &format!("{ADS}DeltaAggregatedResources"))
            .await
    };
    let served = async |last: u8| {
        let mut client: Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = from(last).await;
        client.send(subscribe(ASSIGNMENT, &["cart.shop:8080"]));
        assert_eq!(addresses(first(&client.next().await.unwrap())), 2);
    };

    let names: Vec<String> = (0..limits::MOST_NAMES).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut greedy = Vec::new();
    let refused = loop {
        assert!(greedy.len() < 20, "nothing stops it");
        let mut client: Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = from(2).await;
        client.send(subscribe(ASSIGNMENT, &names));
        match client.next().await {
            Ok(_) => greedy.push(client),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(greedy.len(), 3, "a quarter of 262,144 names: {refused}");

    let mut connections = Vec::new();
    for _ in 0..3500 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        connections.push(socket.connect(address.parse().unwrap()).await.unwrap());
    }
    // 3,072 are three quarters.
    while refused_connections(&plane.0).await < 3500 - 3072 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served(3).await;
    drop(greedy);
    drop(connections);
    served(2).await;
}

async fn refused_connections(process: &Process) -> u64 {
    let (_, text) = process.admin_page("/metrics").await;
    let name = "pointsman_control_plane_refused_connections_total ";
    text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
}

/// In KiB.
fn resident(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn wrong_arguments_say_what_would_be_right() {
    let run = |arguments: &[&str]| {
        let output = Command::new(POINTSMAN).arg("control-plane").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&["--source", "xds:127.0.0.1:18000"]);
    assert!(code == Some(2) && text.contains("write file:PATH or kubernetes"), "{text}");
    let (code, text) = run(&["--source", "file:x", "--listen", "localhost:1"]);
    assert!(code == Some(2) && text.contains("127.0.0.1:18000"), "{text}");
    let (code, text) = run(&["--source", "file:x", "--listen", "192.0.2.1:1"]);
    assert!(code == Some(1) && text.contains("--listen"), "{text}");
}
