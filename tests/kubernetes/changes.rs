//! Pods that turn ready and unready, come and go, and a selector that is broken by mistake.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::json;

use crate::{
    cluster::{Cluster, until},
    support::Agent,
};

#[tokio::test]
async fn a_pod_that_turns_unready_is_not_picked_any_more_and_is_again_when_it_turns_ready() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-b").await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    for _ in 0..3 {
        shop.ready("cart-1", false).await;
        shop.served(&agent, &[("10.1.0.1:8080", "unready"), ("10.1.0.2:8080", "ready")]).await;
        until(vec!["10.1.0.2:8080".to_owned()], async || {
            shop.picked(&agent, 10).await.into_keys().collect()
        })
        .await;
        shop.ready("cart-1", true).await;
        shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    }
}

#[tokio::test]
async fn pods_that_come_and_go_are_followed() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    let agent = shop.agent(&[]).await;
    assert_eq!(shop.pick(&agent).await.0, 503, "there is no pod yet");
    for n in 1..=5 {
        shop.pod(&format!("cart-{n}"), &format!("10.1.0.{n}"), "node-a").await;
    }
    let ready = |numbers: std::ops::RangeInclusive<u8>| -> BTreeMap<String, String> {
        numbers.map(|n| (format!("10.1.0.{n}:8080"), "ready".to_owned())).collect()
    };
    let service = shop.named("cart");
    until(ready(1..=5), async || crate::cluster::endpoints(&agent, &service).await).await;
    for n in [4, 5] {
        // As in a scale-down: the endpoint drains first.
        shop.delete::<Pod>(&format!("cart-{n}")).await;
        shop.pod_gone(&format!("cart-{n}")).await;
    }
    until(ready(1..=3), async || crate::cluster::endpoints(&agent, &service).await).await;
    assert_eq!(shop.picked(&agent, 60).await.len(), 3);
}

#[tokio::test]
async fn a_selector_that_is_broken_by_mistake_does_not_empty_the_service_at_once() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    for n in 1..=4 {
        shop.pod(&format!("cart-{n}"), &format!("10.1.0.{n}"), "node-a").await;
    }
    let agent = shop.agent(&[]).await;
    let all: Vec<(String, &str)> = (1..=4).map(|n| (format!("10.1.0.{n}:8080"), "ready")).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(at, health)| (at.as_str(), *health)).collect();
    shop.served(&agent, &all).await;
    let selector = |app: &str| json!({ "spec": { "selector": { "app": app } } });
    shop.patch::<Service>("cart", selector("crat")).await;
    until(true, async || braked(&agent).await).await;
    assert_eq!(shop.picked(&agent, 40).await.len(), 4, "no call fails");
    shop.patch::<Service>("cart", selector("cart")).await;
    until(false, async || braked(&agent).await).await;
    shop.served(&agent, &all).await;
}

async fn braked(agent: &Agent) -> bool {
    let (_, metrics) = agent.admin_page("/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("pointsman_brake_endpoints_held "));
    !line.unwrap_or_else(|| panic!("{metrics}")).ends_with(" 0")
}

#[tokio::test]
async fn settings_are_annotations_and_take_effect_within_a_second() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    let annotations = json!({ "metadata": { "annotations": { "pointsman.dev/zone": "strict" } } });
    shop.patch::<Service>("cart", annotations).await;
    let path = format!("/v1/services/{}/explain", shop.named("cart"));
    let strict = async || {
        let (_, explained) = agent.http().await.get(&path).await;
        let settings = explained["policy"].as_array().cloned().unwrap_or_default();
        settings.iter().any(|it| it["name"] == "zone" && it["value"] == "strict")
    };
    tokio::time::timeout(Duration::from_secs(1), until(true, strict)).await.unwrap();
}

#[tokio::test]
async fn the_mode_is_an_annotation_and_takes_effect_within_a_second() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    let service = shop.api::<Service>().get("cart").await.unwrap();
    let cluster_ip = format!("{}:80", service.spec.unwrap().cluster_ip.unwrap());
    let say = async |mode: &str| {
        let annotations = json!({ "metadata": { "annotations": { "pointsman.dev/mode": mode } } });
        shop.patch::<Service>("cart", annotations).await;
    };
    for (mode, expected) in
        [("off", cluster_ip.as_str()), ("on", "10.1.0.1:8080"), ("shadow", &cluster_ip)]
    {
        say(mode).await;
        let expected = (200, expected.to_owned());
        let effect = until(expected, async || shop.pick(&agent).await);
        tokio::time::timeout(Duration::from_secs(1), effect).await.unwrap();
    }
    say("50%").await;
    until(2, async || shop.picked(&agent, 30).await.len()).await;
}
