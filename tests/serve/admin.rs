//! The pages for Kubernetes, Prometheus and people.

use std::collections::BTreeSet;

use crate::support::{Agent, SHOP};

#[tokio::test]
async fn an_agent_is_ready_once_every_source_has_answered() {
    let agent = Agent::with_silent_source();
    let (status, text) = agent.admin_page("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("services.yaml"), "what is missing is named: {text}");
    assert_eq!(agent.admin_page("/livez").await.0, 200, "a restart would not help");
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    for _ in 0..1000 {
        if agent.admin_page("/readyz").await.0 == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never ready: {:?}", agent.admin_page("/readyz").await);
}

#[tokio::test]
async fn the_front_page_says_what_this_is_and_where_to_look() {
    let agent = Agent::with(SHOP);
    let (status, text) = agent.admin_page("/").await;
    assert_eq!(status, 200);
    for part in ["pointsman", "ready", "2 services", "/metrics", "agent.sock"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_code_and_service() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    http.report(&lease, "SUCCESS").await;
    http.pick("cart.shop").await;
    http.post("/v1/pick", r#"{"service": "crat.shop"}"#).await;
    http.get("/nowhere").await;
    let (_, text) = agent.admin_page("/metrics").await;
    for line in [
        r#"pointsman_calls_total{call="Pick",protocol="http",code="OK"} 2"#,
        r#"pointsman_calls_total{call="Pick",protocol="http",code="NOT_FOUND"} 1"#,
        r#"pointsman_picks_total{service="cart.shop"} 2"#,
        r#"pointsman_requests_ended_total{service="cart.shop",outcome="success"} 1"#,
        "pointsman_misdirected_requests_total 1",
        "pointsman_leases_open 1",
        "pointsman_sources_unsynced 0",
        "pointsman_services 2",
    ] {
        assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let agent = Agent::with(SHOP);
    agent.http().await.pick("cart.shop").await;
    let (_, text) = agent.admin_page("/metrics").await;
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let documented = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<&str> = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.split('{').next().unwrap().trim_end_matches("_total"))
        .collect();
    assert_eq!(shown, documented);
}
