//! `mode`: which requests of a service are balanced, and which go to its virtual IP.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::json;

use crate::support::{Agent, Http, SHOP};

const VIRTUAL: &str = "10.96.0.7:80";

/// `cart.shop` on port 80, with a virtual IP.
fn services(mode: &str) -> String {
    format!(
        "services:\n  - name: cart.shop\n    ports: [{{name: http, port: 80}}]\n    \
         policy: {{mode: {mode}, virtual_ip: 10.96.0.7}}\n    endpoints:\n      \
         - {{address: 10.1.0.1, labels: {{shard: '1'}}}}\n      - {{address: 10.1.0.2}}\n"
    )
}

async fn picked(agent: &Agent, picks: usize) -> BTreeMap<String, usize> {
    let mut http = agent.http().await;
    let mut picked = BTreeMap::new();
    for _ in 0..picks {
        let (address, lease) = http.pick("cart.shop").await;
        assert!(http.report(&lease, "SUCCESS").await, "a lease is a lease, wherever it leads");
        *picked.entry(address).or_default() += 1;
    }
    picked
}

async fn metric(agent: &Agent, line: &str) -> u64 {
    let (_, metrics) = agent.admin_page("/metrics").await;
    let found = metrics.lines().find_map(|each| each.strip_prefix(line));
    found.unwrap_or_else(|| panic!("{line}: {metrics}")).trim().parse().unwrap()
}

#[tokio::test]
async fn off_answers_the_virtual_ip_and_on_the_endpoints() {
    let agent = Agent::with(&services("off"));
    assert_eq!(picked(&agent, 10).await, BTreeMap::from([(VIRTUAL.to_owned(), 10)]));
    let file = agent.folder.path().join("services.yaml");
    std::fs::write(file, services("on")).unwrap();
    let begin = tokio::time::Instant::now();
    while picked(&agent, 1).await.contains_key(VIRTUAL) {
        assert!(begin.elapsed() < std::time::Duration::from_secs(1), "a second is enough");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(picked(&agent, 40).await.len(), 2);
    assert_eq!(metric(&agent, r#"pointsman_picks_shadowed_total{service="cart.shop"}"#).await, 0);
}

#[tokio::test]
async fn shadow_answers_the_virtual_ip_and_shows_where_it_would_go() {
    let agent = Agent::with(&services("shadow"));
    assert_eq!(picked(&agent, 100).await, BTreeMap::from([(VIRTUAL.to_owned(), 100)]));
    assert_eq!(metric(&agent, r#"pointsman_picks_shadowed_total{service="cart.shop"}"#).await, 100);
    let (_, explained) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    let samples = explained["picks"].as_array().unwrap();
    assert!(!samples.is_empty(), "{explained}");
    assert!(samples.iter().all(|it| it["chosen"].as_str().unwrap().starts_with("10.1.0.")));
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_percentage_is_that_share_of_the_picks_and_a_key_stays_on_its_side() {
    let agent = Agent::with(&services("30%"));
    let all = picked(&agent, 1000).await;
    let virtual_ip = all[VIRTUAL];
    // Five standard deviations of 1,000 draws.
    assert!((628..=772).contains(&virtual_ip), "{all:?}");
    assert_eq!(all.len(), 3, "{all:?}");
    let mut http = agent.http().await;
    let mut sides = BTreeMap::new();
    for key in (0..50).chain(0..50) {
        let pick = json!({ "service": "cart.shop", "hashKey": format!("{key:04}") });
        let (status, body) = http.post("/v1/pick", pick.to_string()).await;
        assert_eq!(status, 200, "{body}");
        let address = body["picks"][0]["address"].clone();
        let side = sides.entry(key).or_insert_with(|| address == "10.96.0.7");
        assert_eq!(*side, address == "10.96.0.7", "key {key}");
    }
    assert!(sides.values().any(|side| *side) && sides.values().any(|side| !*side));
}

/// One service for each mode, zone setting and endpoint zone ("-": unknown), with these in its name:
/// `off-strict-b.shop`.
fn grid() -> (String, Vec<[&'static str; 3]>) {
    let mut text = "services:\n".to_owned();
    let mut cells = Vec::new();
    for mode in ["off", "shadow", "30", "on"] {
        for zone in ["prefer", "strict", "off"] {
            for place in ["a", "b", "-"] {
                let percent = if mode == "30" { "%" } else { "" };
                let name = named([mode, zone, place]);
                let of_zone = match place {
                    "-" => String::new(),
                    place => format!(", zone: {place}"),
                };
                writeln!(
                    text,
                    "  - name: {name}\n    ports: [{{port: 80}}]\n    policy: {{mode: \
                     '{mode}{percent}', zone: '{zone}', virtual_ip: 10.96.0.7}}\n    endpoints: \
                     [{{address: 10.1.0.1{of_zone}}}]"
                )
                .unwrap();
                cells.push([mode, zone, place]);
            }
        }
    }
    (text, cells)
}

fn named([mode, zone, place]: [&str; 3]) -> String {
    format!("{mode}-{zone}-{}.shop", if place == "-" { "none" } else { place })
}

#[tokio::test]
async fn the_virtual_ip_is_answered_whatever_zones_mean_and_whatever_is_known_of_them() {
    let (services, cells) = grid();
    for own in ["a", "-"] {
        let arguments: &[&str] = if own == "-" { &[] } else { &["--zone", own] };
        let agent = Agent::with_arguments(&services, arguments);
        let mut http = agent.http().await;
        for cell @ [mode, zone, place] in &cells {
            let pick = json!({ "service": named(*cell), "noReport": true }).to_string();
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..30 {
                let (status, body) = http.post("/v1/pick", pick.clone()).await;
                let answer = match status.as_u16() {
                    200 => body["picks"][0]["address"].as_str().unwrap().to_owned(),
                    status => status.to_string(),
                };
                *answers.entry(answer).or_default() += 1;
            }
            let there = *zone != "strict" || *place == own;
            let balanced = if there { "10.1.0.1" } else { "503" };
            let expected: &[&str] = match *mode {
                "on" => &[balanced],
                "30" => &[balanced, "10.96.0.7"],
                _ => &["10.96.0.7"],
            };
            let cell = format!("{cell:?} from {own}");
            let answered: Vec<&str> = answers.keys().map(String::as_str).collect();
            assert!(answered.iter().all(|it| expected.contains(it)), "{cell}: {answers:?}");
            assert!(*mode == "on" || answered.contains(&"10.96.0.7"), "{cell}: {answers:?}");
        }
    }
}

#[tokio::test]
async fn a_virtual_ip_without_a_port_to_go_to_is_none() {
    let services = "services:\n  - name: cart.shop\n    policy: {mode: 'off', virtual_ip: \
                    10.96.0.7}\n    endpoints: [{address: '10.1.0.1:80'}]\n";
    let agent = Agent::with(services);
    let expected = BTreeMap::from([("10.1.0.1:80".to_owned(), 10)]);
    assert_eq!(picked(&agent, 10).await, expected);
    let (_, explained) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert!(explained["notes"].to_string().contains("mode has no effect"), "{explained}");
}

#[tokio::test]
async fn who_selects_by_labels_is_balanced_all_the_same() {
    let agent = Agent::with(&services("off"));
    let pick = json!({ "service": "cart.shop", "selector": { "shard": "1" } }).to_string();
    let (_, body) = agent.http().await.post("/v1/pick", pick).await;
    assert_eq!(body["picks"][0]["address"], "10.1.0.1");
}

#[tokio::test]
async fn without_a_virtual_ip_all_is_balanced_and_it_is_said() {
    let agent = Agent::with(&services("off").replace("10.96.0.7", "none"));
    assert_eq!(picked(&agent, 40).await.len(), 2);
    let (_, explained) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert!(explained["notes"].to_string().contains("mode has no effect"), "{explained}");
}

#[tokio::test]
async fn explain_says_that_a_hash_key_chooses_no_endpoint_where_picks_have_one() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let noted = async |http: &mut Http| {
        let (_, explained) = http.get("/v1/services/cart.shop/explain").await;
        explained["notes"].to_string().contains("hash_key: no strategy uses it yet")
    };
    http.pick("cart.shop").await;
    assert!(!noted(&mut http).await);
    http.post("/v1/pick", r#"{"service": "cart.shop", "hashKey": "a session"}"#).await;
    assert!(noted(&mut http).await);
}
