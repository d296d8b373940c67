//! From the API server through `pointsman control-plane` to an agent's pick.

use std::{process::Command, sync::Arc};

use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cluster::{Cluster, Shop, agent_with, pick, until},
    support::{Agent, POINTSMAN},
};

/// A control plane of this API server, in this folder.
fn plane_in(cluster: &Cluster, folder: &Arc<TempDir>) -> Agent {
    let mut command = Command::new(POINTSMAN);
    command.args(["control-plane", "--admin", "127.0.0.1:0"]);
    command.arg(format!("--source=kubernetes:kubeconfig={}", cluster.kubeconfig.display()));
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
