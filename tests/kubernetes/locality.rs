//! The agent finds its node's zone and region.

use serde_json::json;

use crate::cluster::{Cluster, until};

#[tokio::test]
async fn line_16_the_own_zone_and_region_are_the_labels_of_the_node() {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    for n in 1..=3 {
        shop.pod(&format!("cart-a{n}"), &format!("10.1.0.{n}"), "node-a").await;
        shop.pod(&format!("cart-b{n}"), &format!("10.1.1.{n}"), "node-b").await;
    }
    let agent = shop.agent(&["--node", "node-b"]).await;
    let line = agent.logs("this node's zone and region");
    assert!(line.contains("zone-b") && line.contains("region-1"), "{line}");
    until(true, async || shop.picked(&agent, 30).await.keys().all(|at| at.starts_with("10.1.1")))
        .await;
    let (_, page) = agent.admin_page("/").await;
    assert!(page.contains("zone-b") && page.contains("region-1"), "{page}");
}

#[tokio::test]
async fn what_is_said_wins_over_the_nodes_labels() {
    let shop = Cluster::shared().await.namespace().await;
    let agent = shop.agent(&["--node", "node-b", "--zone", "zone-a"]).await;
    shop.by_hand(json!({})).await;
    until(503, async || shop.pick(&agent).await.0).await;
    assert!(!agent.has_logged("this node's zone and region"));
    assert!(agent.admin_page("/").await.1.contains("zone-a"));
}

#[tokio::test]
async fn a_node_that_is_none_is_a_problem_that_holds_nothing_up() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&["--node", "node-z"]).await;
    assert_eq!(shop.pick(&agent).await.0, 200);
    agent.logs("there is no node \"node-z\" in the cluster");
}
