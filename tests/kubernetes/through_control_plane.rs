//! From the API server through `pointsman control-plane` to an agent's pick.

use std::{path::Path, process::Command, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    account::Account,
    cluster::{Cluster, Shop, agent_with, pick, typed, until},
    rights::{documented_of_control_plane, less},
    support::{Agent, POINTSMAN},
};

/// A control plane of this API server, in this folder.
fn plane_in(cluster: &Cluster, folder: &Arc<TempDir>) -> Agent {
    plane_by(&cluster.kubeconfig, folder)
}

fn plane_by(kubeconfig: &Path, folder: &Arc<TempDir>) -> Agent {
    let mut command = Command::new(POINTSMAN);
    command.args(["control-plane", "--admin", "127.0.0.1:0"]);
    command.arg(format!("--source=kubernetes:kubeconfig={}", kubeconfig.display()));
    command.arg(format!("--listen={}", socket(folder)));
    let plane = Agent::spawn(folder.clone(), command);
    plane.logs("listening");
    plane
}

fn socket(folder: &TempDir) -> String {
    format!("unix://{}", folder.path().join("xds.sock").display())
}

async fn three_pods() -> Shop {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    for (n, node) in [(1, "node-a"), (2, "node-b"), (3, "node-b")] {
        shop.pod(&format!("cart-{n}"), &format!("10.1.0.{n}"), node).await;
    }
    shop
}

/// An agent on node-a that follows the control plane in this folder.
fn agent_of(folder: &TempDir) -> Agent {
    let source = format!("xds:{}", socket(folder));
    agent_with(&[&source], tempfile::tempdir().unwrap(), &["--node", "node-a"])
}

const THREE: [(&str, &str); 3] =
    [("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready"), ("10.1.0.3:8080", "ready")];

/// Three pods, a control plane in a folder, and an agent that has learnt of the pods from it.
async fn three_pods_served() -> (Shop, Arc<TempDir>, Agent, Agent) {
    let shop = three_pods().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let plane = plane_in(&shop.cluster, &folder);
    let agent = agent_of(&folder);
    agent.logs("answered");
    shop.served(&agent, &THREE).await;
    (shop, folder, plane, agent)
}

#[tokio::test]
async fn a_pod_that_comes_or_goes_reaches_an_agent_s_picks() {
    let (shop, _folder, _plane, agent) = three_pods_served().await;
    shop.pod_gone("cart-1").await;
    shop.pod("cart-4", "10.1.0.4", "node-a").await;
    let now = [("10.1.0.2:8080", "ready"), ("10.1.0.3:8080", "ready"), ("10.1.0.4:8080", "ready")];
    shop.served(&agent, &now).await;
    let picked: Vec<_> = shop.picked(&agent, 60).await.into_keys().collect();
    assert_eq!(picked, ["10.1.0.2:8080", "10.1.0.3:8080", "10.1.0.4:8080"]);
    shop.service("users", json!({ "ports": [{ "name": "http", "port": 80 }] })).await;
    until(503, async || pick(&agent, &shop.named("users")).await.0).await;
    shop.delete::<Service>("users").await;
    until(404, async || pick(&agent, &shop.named("users")).await.0).await;
}

#[tokio::test]
async fn a_service_for_callers_on_an_endpoint_s_node_is_so_on_each_node() {
    let (shop, _folder, plane, agent) = three_pods_served().await;
    let local = json!({ "spec": { "internalTrafficPolicy": "Local" } });
    shop.patch::<Service>("cart", local).await;
    shop.served(&agent, &THREE[..1]).await;
    assert!(shop.notes(&agent).await.contains("1 of 3 endpoints are on this node (node-a)"));
    plane.metrics_say("pointsman_control_plane_own_node_services 1").await;
    let annotated = json!({
        "metadata": { "annotations": { "pointsman.dev/zone": "strict" } },
        "spec": { "internalTrafficPolicy": "Cluster" }
    });
    shop.patch::<Service>("cart", annotated).await;
    shop.served(&agent, &THREE).await;
    let path = format!("/v1/services/{}/explain", shop.named("cart"));
    let (_, explained) = agent.http().await.get(&path).await;
    assert!(explained.to_string().contains("annotation pointsman.dev/zone"), "{explained}");
}

#[tokio::test]
async fn a_selector_that_matches_nothing_meets_one_brake() {
    let (shop, _folder, _plane, agent) = three_pods_served().await;
    let nothing = json!({ "spec": { "selector": { "app": "nothing" } } });
    shop.patch::<Service>("cart", nothing).await;
    let braked = async || shop.notes(&agent).await.contains("brake: 3 of 3");
    until(true, braked).await;
    shop.served(&agent, &THREE).await;
    assert_eq!(shop.pick(&agent).await.0, 200, "all three still run");
    agent.metrics_say("pointsman_brake_total 0").await;
}

#[tokio::test]
async fn picks_go_on_while_the_control_plane_is_away_and_it_learns_what_it_missed() {
    let (shop, folder, plane, agent) = three_pods_served().await;
    drop(plane.kill());
    shop.pod_gone("cart-1").await;
    for _ in 0..100 {
        assert_eq!(shop.pick(&agent).await.0, 200);
    }
    shop.served(&agent, &THREE).await;
    let _plane = plane_in(&shop.cluster, &folder);
    shop.served(&agent, &THREE[1..]).await;
}

/// What the agent says of the endpoints of `cart`: labels, ready time, region and zone of each.
async fn facts(agent: &Agent, shop: &Shop) -> Vec<Value> {
    let (_, body) = agent.http().await.get(&format!("/v1/services/{}", shop.named("cart"))).await;
    let endpoints = body["endpoints"].as_array().cloned().unwrap_or_default();
    let of = |it: &Value| {
        let since = it["readySince"].as_str().map(|since| since.replace("+00:00", "Z"));
        json!([it["address"], it["labels"], since, it["region"], it["zone"]])
    };
    endpoints.iter().map(of).collect()
}

/// Sets the labels of a pod, and that it is ready since this time.
async fn describe(shop: &Shop, pod: &str, labels: Value, since: &str) {
    shop.patch::<Pod>(pod, json!({ "metadata": { "labels": labels } })).await;
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": since });
    shop.pod_status(pod, json!({ "conditions": [ready] })).await;
}

async fn name_labels(shop: &Shop, labels: &str) {
    let annotations = json!({ "pointsman.dev/pod-labels": labels });
    shop.patch::<Service>("cart", json!({ "metadata": { "annotations": annotations } })).await;
}

#[tokio::test]
async fn labels_that_the_service_names_ready_time_and_region_reach_an_agent() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    name_labels(&shop, "shard").await;
    let since = "2026-01-02T03:04:05Z";
    for (n, node) in [(1, "node-a"), (2, "node-b")] {
        shop.pod(&format!("cart-{n}"), &format!("10.1.0.{n}"), node).await;
        let labels = json!({ "shard": format!("s{n}"), "version": "v1" });
        describe(&shop, &format!("cart-{n}"), labels, since).await;
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let _plane = plane_in(&shop.cluster, &folder);
    let agent = agent_of(&folder);
    let known = |n: u8, labels: Value, zone: &str| {
        json!([format!("10.1.0.{n}"), labels, since, "region-1", zone])
    };
    let second = known(2, json!({ "shard": "s2" }), "zone-b");
    let expected = vec![known(1, json!({ "shard": "s1" }), "zone-a"), second.clone()];
    until(expected, async || facts(&agent, &shop).await).await;

    // A label that changes, and one more that the Service names.
    describe(&shop, "cart-1", json!({ "shard": "s9" }), since).await;
    let first = known(1, json!({ "shard": "s9" }), "zone-a");
    until(vec![first, second], async || facts(&agent, &shop).await).await;
    name_labels(&shop, "shard,version").await;
    let both = |shard: &str| json!({ "shard": shard, "version": "v1" });
    let expected = vec![known(1, both("s9"), "zone-a"), known(2, both("s2"), "zone-b")];
    until(expected, async || facts(&agent, &shop).await).await;

    let body = json!({ "service": shop.named("cart"), "selector": { "shard": "s2" } });
    let (_, picked) = agent.http().await.post("/v1/pick", body.to_string()).await;
    assert_eq!(picked["picks"][0]["address"], "10.1.0.2", "{picked}");
}

#[tokio::test]
async fn a_node_that_comes_later_tells_its_endpoints_zone_and_region() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    let node = format!("node-of-{}", shop.name);
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"], "nodeName": node }])).await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let _plane = plane_in(&shop.cluster, &folder);
    let agent = agent_of(&folder);
    let place = async || {
        let facts = facts(&agent, &shop).await;
        facts.first().map(|of| (of[3].clone(), of[4].clone()))
    };
    until(Some((Value::Null, Value::Null)), place).await;
    let nodes: Api<Node> = Api::all(shop.cluster.client.clone());
    let labels = |zone: &str| json!({ "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "north" });
    let object = json!({ "metadata": { "name": node, "labels": labels("one") } });
    nodes.create(&PostParams::default(), &typed(object)).await.unwrap();
    until(Some((json!("north"), json!("one"))), place).await;
    let patch = Patch::Merge(json!({ "metadata": { "labels": labels("two") } }));
    nodes.patch(&node, &PatchParams::default(), &patch).await.unwrap();
    until(Some((json!("north"), json!("two"))), place).await;
    nodes.delete(&node, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn without_the_right_to_pods_or_nodes_it_serves_without_what_they_say_and_says_so() {
    for (resource, what) in [("pods", 1..3), ("nodes", 3..4)] {
        let account = Account::with(less(documented_of_control_plane(), resource, "list")).await;
        let shop = &account.shop;
        shop.selecting(json!({})).await;
        name_labels(shop, "shard").await;
        shop.pod("cart-1", "10.1.0.1", "node-a").await;
        let since = "2026-01-02T03:04:05Z";
        describe(shop, "cart-1", json!({ "shard": "s1" }), since).await;
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let plane = plane_by(&account.kubeconfig().await, &folder);
        let agent = agent_of(&folder);
        let whole = json!(["10.1.0.1", { "shard": "s1" }, since, "region-1", "zone-a"]);
        let mut less = whole.clone();
        what.for_each(|fact| less[fact] = Value::Null);
        until(vec![less], async || facts(&agent, shop).await).await;

        let line = plane.logs(&format!("may not list {resource} (403)"));
        let right = format!("resources: [{resource}], verbs: [list, watch]");
        assert!(line.contains(&right), "{line}");
        let (status, page) = plane.admin_page("/readyz").await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains(&right), "{page}");
        plane.metrics_say("pointsman_control_plane_source_problems 1").await;

        account.allow(documented_of_control_plane()).await;
        until(vec![whole], async || facts(&agent, shop).await).await;
        until("ok\n".to_owned(), async || plane.admin_page("/readyz").await.1).await;
    }
}
