//! The memory of a control plane that reads a large cluster. The API server is this process, which makes
//! each page when it is asked for.

mod support;

use std::{
    convert::Infallible,
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::{Agent as Process, POINTSMAN};
use tokio::net::TcpListener;

const SERVICES: usize = 1_000;
const PODS: usize = SERVICES * PODS_EACH;
const PODS_EACH: usize = 10;
const NODES: usize = 200;

/// The most memory. The text of the pods alone is 60 MB, on top of the 70 MiB that all else takes.
const MOST: u64 = 100 << 20;

/// The size of a pod in JSON, as it comes from clusters: most of it is of no use here.
const POD_BYTES: usize = 6_000;

/// For reading it all with a build without optimization, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn ip(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)
}

fn uid(pod: usize) -> String {
    format!("{pod:08x}-1111-2222-3333-444455556666")
}

fn service(n: usize) -> String {
    json!({
        "metadata": {
            "name": format!("s{n}"), "namespace": "shop", "uid": format!("service-{n}"),
            "annotations": { "pointsman.dev/pod-labels": "shard,version" }
        },
        "spec": { "clusterIP": ip(n), "ports": [{ "name": "http", "port": 80 }] }
    })
    .to_string()
}

fn slice(n: usize) -> String {
    let endpoint = |pod: usize| {
        json!({
            "addresses": [ip(pod)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": format!("node-{}", pod % NODES),
            "zone": format!("zone-{}", pod % 3),
            "targetRef": { "kind": "Pod", "namespace": "shop", "name": format!("s{n}-{pod}"), "uid": uid(pod) }
        })
    };
    json!({
        "metadata": {
            "name": format!("s{n}-1"), "namespace": "shop",
            "labels": { "kubernetes.io/service-name": format!("s{n}") }
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": (n * PODS_EACH..(n + 1) * PODS_EACH).map(endpoint).collect::<Vec<_>>()
    })
    .to_string()
}

/// The fields of a pod that are of no use here, which are most of it.
fn rest() -> (String, String) {
    let variable = |n: usize| json!({ "name": format!("VARIABLE_{n}"), "value": "x".repeat(40) });
    let fields: serde_json::Map<_, _> =
        (0..100).map(|n| (format!("f:field-{n}"), json!({}))).collect();
    let managed = json!([{ "manager": "kubelet", "fieldsType": "FieldsV1", "fieldsV1": fields }]);
    let containers = json!([{
        "name": "main", "image": "registry.example/team/image:1.2.3",
        "env": (0..60).map(variable).collect::<Vec<_>>()
    }]);
    (managed.to_string(), containers.to_string())
}

/// As text: a tree of each of them would take longer than all else.
fn pod(n: usize) -> String {
    static REST: LazyLock<(String, String)> = LazyLock::new(rest);
    let (managed, containers) = &*REST;
    let labels = json!({
        "app": format!("s{}", n / PODS_EACH), "pod-template-hash": format!("{n:x}"),
        "shard": (n % 16).to_string(), "version": (n % 2).to_string()
    });
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let conditions = ["Initialized", "PodScheduled", "Ready"].map(condition);
    let status = json!({ "phase": "Running", "podIP": ip(n), "conditions": conditions });
    let (name, uid, node) = (format!("s{}-{n}", n / PODS_EACH), uid(n), n % NODES);
    format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "shop", "uid": "{uid}", "labels": {labels},
            "managedFields": {managed}}},
            "spec": {{"nodeName": "node-{node}", "containers": {containers}}}, "status": {status}}}"#
    )
}

fn node(n: usize) -> String {
    let labels = json!({
        "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
        "topology.kubernetes.io/region": "north"
    });
    json!({ "metadata": { "name": format!("node-{n}"), "labels": labels } }).to_string()
}

fn respond(request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        let silence = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return Response::new(BodyExt::boxed(StreamBody::new(silence)));
    }
    let number = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.parse::<usize>().unwrap())
    };
    let (make, count): (fn(usize) -> String, usize) =
        match request.uri().path().rsplit('/').next().unwrap() {
            "services" => (service, SERVICES),
            "endpointslices" => (slice, SERVICES),
            "pods" => (pod, PODS),
            "nodes" => (node, NODES),
            kind => panic!("nobody needs {kind}"),
        };
    let from = number("continue").unwrap_or_default();
    let to = count.min(from + number("limit").unwrap());
    let next = if to < count { to.to_string() } else { String::new() };
    let items: Vec<String> = (from..to).map(make).collect();
    let metadata = json!({ "resourceVersion": "1", "continue": next });
    let page = format!(r#"{{"metadata": {metadata}, "items": [{}]}}"#, items.join(","));
    Response::new(Full::from(page).boxed())
}

/// Starts the API server. Returns a kubeconfig of it.
async fn api_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(async |request| Ok::<_, Infallible>(respond(&request)));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // The control plane ends its connections when it ends.
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    format!(
        "{{apiVersion: v1, kind: Config, current-context: it, \
         clusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}], \
         users: [{{name: it, user: {{}}}}], \
         contexts: [{{name: it, context: {{cluster: it, user: it}}}}]}}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_never_holds_all_pods() {
    assert!(pod(PODS - 1).len() > POD_BYTES);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api_server().await).unwrap();
    let mut command = Command::new(POINTSMAN);
    command.args(["control-plane", "--admin", "127.0.0.1:0"]);
    command.arg(format!("--source=kubernetes:{}", kubeconfig.display()));
    command.arg(format!("--listen=unix://{}", folder.path().join("xds.sock").display()));
    let plane = Process::spawn(folder, command);
    plane.logs("listening");
    let begin = tokio::time::Instant::now();
    loop {
        let (status, said) = plane.admin_page("/readyz").await;
        if status == StatusCode::OK {
            assert_eq!(said, "ok\n");
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let line = r#"pointsman_control_plane_resources{type="cluster",client="agent"} "#;
    plane.metrics_say(&format!("{line}{SERVICES}")).await;
    let peak = peak(plane.pid());
    println!("{} MiB at its peak, with {PODS} pods", peak >> 20);
    assert!(peak <= MOST, "{} MiB at its peak", peak >> 20);
}

/// The most memory that a process had so far, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
