//! Where picks go if there are streams, forgotten leases, and endpoints that the source dropped.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use crate::support::{Agent, Http};

/// The time until requests count as standing on a busy machine. Two epochs are 400 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// `cart.shop` with one endpoint in each of these zones: 10.0.0.1, 10.0.0.2 and so on.
fn services(zones: &str) -> String {
    let mut text = "services:\n  - name: cart.shop\n    endpoints:\n".to_owned();
    for (number, zone) in (1..).zip(zones.chars()) {
        writeln!(text, "      - {{address: '10.0.0.{number}:80', zone: {zone}}}").unwrap();
    }
    text
}

fn agent_in_zone_a(zones: &str) -> Agent {
    Agent::with_arguments(&services(zones), &["--zone", "a"])
}

/// Waits until this many requests to `cart.shop` count as standing.
async fn standing(http: &mut Http, expected: u64) {
    let mut seen = 0;
    for _ in 0..PATIENCE.as_millis() / 10 {
        let (_, service) = http.get("/v1/services/cart.shop").await;
        let endpoints = service["endpoints"].as_array().unwrap().iter();
        seen = endpoints.map(|e| e["standing"].as_u64().unwrap_or(0)).sum();
        if seen == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{seen} are standing, not {expected}");
}

/// Sends this many requests in sequence. Returns how many each endpoint got, by its number.
async fn one_at_a_time(http: &mut Http, count: usize) -> BTreeMap<u16, usize> {
    let mut went = BTreeMap::new();
    for _ in 0..count {
        let (address, lease) = http.pick("cart.shop").await;
        *went.entry(number(&address)).or_default() += 1;
        assert!(http.report(&lease, "SUCCESS").await);
    }
    went
}

fn number(address: &str) -> u16 {
    address.trim_start_matches("10.0.0.").trim_end_matches(":80").parse().unwrap()
}

#[tokio::test]
async fn nine_idle_streams_push_no_request_out_of_the_zone() {
    let agent = agent_in_zone_a("aaabbb");
    let mut http = agent.http().await;
    for streams in [3, 6, 9] {
        for _ in 0..3 {
            http.pick("cart.shop").await;
        }
        standing(&mut http, streams).await;
    }
    let went = one_at_a_time(&mut http, 400).await;
    assert!(went.keys().all(|number| *number <= 3), "{went:?}");
}

#[tokio::test]
async fn leases_that_a_dead_program_left_push_no_request_out_of_the_zone() {
    let agent = agent_in_zone_a("aaabbb");
    let mut http = agent.http().await;
    one_at_a_time(&mut http, 100).await;
    let mut died = agent.http().await;
    for _ in 0..20 {
        died.pick("cart.shop").await;
    }
    drop(died);
    standing(&mut http, 20).await;
    let went = one_at_a_time(&mut http, 400).await;
    assert!(went.keys().all(|number| *number <= 3), "{went:?}");
    assert!((1..=3).all(|number| went.get(&number).is_some_and(|n| *n >= 60)), "{went:?}");
}

#[tokio::test]
async fn one_lease_that_nobody_ends_leaves_its_endpoint_nearly_half_of_the_requests() {
    let agent = agent_in_zone_a("aa");
    let mut http = agent.http().await;
    let (forgotten, _) = http.pick("cart.shop").await;
    standing(&mut http, 1).await;
    let went = one_at_a_time(&mut http, 400).await;
    assert!(went.get(&number(&forgotten)).is_some_and(|n| *n >= 140), "{forgotten}: {went:?}");
}

#[tokio::test]
async fn what_the_brake_kept_gets_no_pick_while_anything_ready_can_take_it() {
    let agent = agent_in_zone_a("aaaaaa");
    let mut http = agent.http().await;
    http.pick("cart.shop").await;
    std::fs::write(agent.folder.path().join("services.yaml"), services("aa")).unwrap();
    loop {
        let (_, explained) = http.get("/v1/services/cart.shop/explain").await;
        let groups = explained["groups"].as_array().unwrap();
        if groups.iter().any(|group| group["name"] == "kept by the brake") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..40 {
        let (address, _) = http.pick("cart.shop").await;
        assert!(number(&address) <= 2, "{address}");
    }
}

#[tokio::test]
async fn strict_picks_nothing_in_another_zone_and_says_so() {
    let mut text = services("bb");
    text.push_str("    policy: {zone: strict, mode: on}\n");
    let agent = Agent::with_arguments(&text, &["--zone", "a"]);
    let mut http = agent.http().await;
    let (status, body) = http.post("/v1/pick", r#"{"service": "cart.shop"}"#).await;
    assert_eq!(status, 503, "{body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("2 not in zone a (zone is strict)"), "{message}");
}
