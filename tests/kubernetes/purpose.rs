//! The agent follows an intended change at once. The brake does not apply to it.

use std::time::Duration;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Shop, pick, until},
    support::Agent,
};

/// The limit for "at once" on a busy machine: a tenth of the time for which the brake holds endpoints.
const AT_ONCE: Duration = Duration::from_secs(6);

async fn at_once<T: PartialEq + std::fmt::Debug>(expected: T, look: impl AsyncFn() -> T) {
    tokio::time::timeout(AT_ONCE, until(expected, look)).await.expect("at once");
}

/// `cart` with two pods and these further fields in its spec, and an agent on node-a that has picked
/// from it.
async fn cart(spec: Value) -> (Shop, Agent) {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(spec).await;
    shop.pod("cart-1", "10.1.0.1", "node-b").await;
    shop.pod("cart-2", "10.1.0.2", "node-b").await;
    let agent = shop.agent(&["--node", "node-a"]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    (shop, agent)
}

async fn change(shop: &Shop, spec: Value) {
    shop.patch::<Service>("cart", json!({ "spec": spec })).await;
}

async fn held(agent: &Agent) -> bool {
    let (_, metrics) = agent.admin_page("/metrics").await;
    !metrics.lines().any(|line| line == "pointsman_brake_endpoints_held 0")
}

#[tokio::test]
async fn two_ports_that_become_one_without_a_name_are_one_at_once() {
    let shop = Cluster::shared().await.namespace().await;
    let two = || {
        json!([
            { "name": "http", "port": 80, "targetPort": 8080 },
            { "name": "metrics", "port": 9100, "targetPort": 9100 }
        ])
    };
    shop.selecting(json!({ "ports": two() })).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    let agent = shop.agent(&[]).await;
    let port = |name: &str| format!("{}:{name}", shop.named("cart"));
    for _ in 0..5 {
        for (name, number) in [("http", 8080), ("metrics", 9100)] {
            let expected = (200, format!("10.1.0.1:{number}"));
            at_once(expected, async || pick(&agent, &port(name)).await).await;
        }
        change(&shop, json!({ "ports": [{ "port": 80, "targetPort": 8080 }] })).await;
        at_once((200, "10.1.0.1:8080".to_owned()), async || shop.pick(&agent).await).await;
        at_once(404, async || pick(&agent, &port("metrics")).await.0).await;
        at_once(false, async || held(&agent).await).await;
        change(&shop, json!({ "ports": two() })).await;
        at_once(400, async || shop.pick(&agent).await.0).await;
    }
}

#[tokio::test]
async fn another_name_number_or_target_of_a_port_fails_no_pick_and_leaves_nothing_held() {
    let (shop, agent) = cart(json!({})).await;
    for (port, expected) in [
        (json!({ "name": "web", "port": 80, "targetPort": 8080 }), 8080),
        (json!({ "name": "web", "port": 8000, "targetPort": 8080 }), 8080),
        (json!({ "name": "web", "port": 8000, "targetPort": 9090 }), 9090),
        (json!({ "name": "http", "port": 80, "targetPort": 8080 }), 8080),
    ] {
        change(&shop, json!({ "ports": [port] })).await;
        let target = async || {
            let (status, said) = shop.pick(&agent).await;
            assert_eq!(status, 200, "{said}");
            said.ends_with(&format!(":{expected}"))
        };
        at_once(true, target).await;
        at_once(false, async || held(&agent).await).await;
    }
}

#[tokio::test]
async fn line_20_a_switch_to_local_without_an_endpoint_on_the_node_is_obeyed_at_once() {
    let (shop, agent) = cart(json!({})).await;
    change(&shop, json!({ "internalTrafficPolicy": "Local" })).await;
    at_once(503, async || shop.pick(&agent).await.0).await;
    assert!(!held(&agent).await);
    change(&shop, json!({ "internalTrafficPolicy": "Cluster" })).await;
    at_once(200, async || shop.pick(&agent).await.0).await;
}

#[tokio::test]
async fn an_external_name_has_nothing_to_pick_from_whatever_slices_are_left() {
    let (shop, agent) = cart(json!({})).await;
    let external = json!({
        "type": "ExternalName", "externalName": "db.example.com", "selector": null,
        "clusterIP": "", "clusterIPs": null
    });
    change(&shop, external).await;
    at_once(503, async || shop.pick(&agent).await.0).await;
    assert!(!held(&agent).await);
    assert!(shop.notes(&agent).await.contains("ExternalName (db.example.com)"));
    let (_, refused) = shop.pick(&agent).await;
    assert!(refused.contains("ExternalName (db.example.com)"), "{refused}");
    let left = shop.api::<EndpointSlice>().list(&Default::default()).await.unwrap();
    assert!(!left.items.is_empty(), "the controller leaves them alone");
    let back = json!({ "type": "ClusterIP", "externalName": null, "selector": { "app": "cart" } });
    change(&shop, back).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
}

#[tokio::test]
async fn line_07_what_still_drains_is_picked_before_what_vanished() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    let draining =
        json!({ "addresses": ["10.1.0.1"], "conditions": { "ready": false, "terminating": true } });
    let (one, two) = (json!({ "addresses": ["10.1.0.2"] }), json!({ "addresses": ["10.1.0.3"] }));
    shop.slice("cart-1", json!([draining, one, two])).await;
    let agent = shop.agent(&[]).await;
    until(2, async || shop.picked(&agent, 40).await.len()).await;
    shop.rewrite("cart-1", json!([draining])).await;
    at_once(true, async || held(&agent).await).await;
    let drains = vec!["10.1.0.1:8080".to_owned()];
    at_once(drains, async || shop.picked(&agent, 20).await.into_keys().collect()).await;
}
