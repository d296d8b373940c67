//! The agent reads the names of all services, and the endpoints of those that callers ask for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use crate::cluster::{Cluster, agent_by, an_address, pick, until};

#[tokio::test]
async fn the_first_pick_of_a_service_waits_for_its_endpoints() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&["--log", "pointsman=debug"]).await;
    assert!(!agent.has_logged("following"), "nobody asked");
    let listed = async || {
        let path = format!("/v1/services?namespace={}", shop.name);
        agent.http().await.get(&path).await.1["services"].clone()
    };
    let before = listed().await;
    assert_eq!(before[0]["service"], shop.named("cart"), "its name is known");
    assert!(before[0]["source"].as_str().unwrap().starts_with("kubernetes:"));
    assert!(before[0].get("ports").is_none_or(|ports| ports == &json!([])), "{before}");
    assert_eq!(shop.pick(&agent).await, (200, "10.1.0.1:8080".to_owned()));
    agent.logs(&format!("following service={}", shop.named("cart")));
    assert_eq!(listed().await[0]["ports"][0]["ready"], 1);
}

#[tokio::test]
async fn a_name_that_is_none_is_answered_at_once_with_what_was_probably_meant() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    let agent = shop.agent(&[]).await;
    let begin = tokio::time::Instant::now();
    let (status, said) = pick(&agent, &shop.named("crat")).await;
    assert_eq!(status, 404);
    assert!(said.contains(&format!("did you mean \"{}\"", shop.named("cart"))), "{said}");
    assert!(begin.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn a_service_that_appears_after_it_was_asked_for_is_picked_from() {
    let shop = Cluster::shared().await.namespace().await;
    let agent = shop.agent(&[]).await;
    assert_eq!(shop.pick(&agent).await.0, 404);
    shop.by_hand(json!({})).await;
    until(503, async || shop.pick(&agent).await.0).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    until((200, "10.1.0.1:8080".to_owned()), async || shop.pick(&agent).await).await;
}

#[tokio::test]
async fn a_service_that_is_deleted_is_none_any_more_and_may_come_back() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    shop.delete::<Service>("cart").await;
    // Its slice, which the test wrote, stays. A slice alone is not a service.
    until(404, async || shop.pick(&agent).await.0).await;
    shop.by_hand(json!({})).await;
    until((200, "10.1.0.1:8080".to_owned()), async || shop.pick(&agent).await).await;
}

#[tokio::test]
async fn everything_is_known_before_anybody_asks_where_that_is_wanted() {
    let cluster = Cluster::shared().await;
    let shop = cluster.namespace().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let source = format!("kubernetes:everything,kubeconfig={}", cluster.kubeconfig.display());
    // The first source that knows a service owns it. The agent never asks the other one.
    let agent = crate::cluster::agent_with(&[&source], tempfile::tempdir().unwrap(), &[]);
    agent.logs("answered");
    let path = format!("/v1/services?namespace={}", shop.name);
    let (_, body) = agent.http().await.get(&path).await;
    assert_eq!(body["services"][0]["service"], shop.named("cart"));
    assert_eq!(body["services"][0]["ports"][0]["ready"], 1);
    shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
    shop.served(&agent, &[("10.1.0.2:8080", "ready")]).await;
    shop.delete::<Service>("cart").await;
    until(404, async || shop.pick(&agent).await.0).await;
}

#[tokio::test]
async fn a_hundred_services_share_a_few_connections() {
    let shop = Cluster::shared().await.namespace().await;
    for n in 0..100 {
        let spec = json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] });
        shop.service(&format!("s{n}"), spec).await;
    }
    let agent = shop.agent(&[]).await;
    for n in 0..100 {
        // The service exists, and has no endpoint.
        assert_eq!(pick(&agent, &shop.named(&format!("s{n}"))).await.0, 503);
    }
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let sockets = descriptors
        .filter_map(|each| std::fs::read_link(each.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count();
    assert!(sockets < 25, "{sockets} sockets for 100 services and their agent");
}

#[tokio::test]
async fn three_hundred_services_asked_for_at_once_are_all_answered() {
    const ASKED: usize = 300;
    let shop = Cluster::shared().await.namespace().await;
    shop.many(ASKED).await;
    let agent = shop.agent(&[]).await;
    let mut connections = Vec::new();
    for _ in 0..ASKED {
        connections.push(agent.http().await);
    }
    let begin = tokio::time::Instant::now();
    let asked = connections.into_iter().enumerate().map(async |(n, mut http)| {
        let request = json!({ "service": shop.named(&format!("s{n}")), "wait": "5s" }).to_string();
        let (mut status, mut body) = http.post("/v1/pick", request.clone()).await;
        // On a busy machine 5 s may not be enough.
        while status == 504 && begin.elapsed() < Duration::from_secs(20) {
            (status, body) = http.post("/v1/pick", request.clone()).await;
        }
        assert_eq!(status, 200, "s{n}: {body}");
        assert_eq!(body["picks"][0]["address"], an_address(n));
        begin.elapsed()
    });
    let mut took = futures_util::future::join_all(asked).await;
    took.sort_unstable();
    println!("first {:?}, median {:?}, last {:?}", took[0], took[ASKED / 2], took[ASKED - 1]);
}

#[tokio::test]
async fn a_successor_follows_what_is_in_flight_at_its_predecessor() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let before = shop.agent(&[]).await;
    let (_, lease) = before.http().await.pick(&shop.named("cart")).await;
    let admin = before.admin();
    let after = agent_by(&shop.cluster.kubeconfig, before.folder.clone(), &["--takeover"]);
    after.logs("took over");
    assert_ne!(after.admin(), admin);
    after.in_flight_is(&shop.named("cart"), 1).await;
    assert!(after.http().await.report(&lease, "SUCCESS").await, "its lease is known");
    after.in_flight_is(&shop.named("cart"), 0).await;
}
