//! Watches of a service, over gRPC and over HTTP.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use pointsman::api::v1::{WatchEvent, WatchServiceRequest, watch_event::Type};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::UnixStream,
};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use crate::support::{Agent, SHOP};

fn services_are(agent: &Agent, services: &str) {
    std::fs::write(agent.folder.path().join("services.yaml"), services).unwrap();
}

async fn watch(agent: &Agent, service: &str) -> Streaming<WatchEvent> {
    let request = WatchServiceRequest { service: service.to_owned(), ..Default::default() };
    agent.grpc().await.watch_service(request).await.unwrap().into_inner()
}

/// A watch over HTTP/1.0, whose body has lines without chunks around them.
async fn watch_by_lines(agent: &Agent, query: &str) -> Lines<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    let request = format!("GET /v1/services/cart.shop?watch=true{query} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.0 200 OK");
    let mut headers = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap()
        && !line.is_empty()
    {
        headers.push(line);
    }
    assert!(headers.contains(&"content-type: application/x-ndjson".to_owned()), "{headers:?}");
    lines
}

async fn event(lines: &mut Lines<BufReader<UnixStream>>) -> Value {
    serde_json::from_str(&lines.next_line().await.unwrap().expect("a line")).unwrap()
}

#[tokio::test]
async fn a_watch_over_grpc_begins_with_all_and_goes_on_with_what_changes() {
    let agent = Agent::with(SHOP);
    let mut events = watch(&agent, "cart.shop").await;
    let first = events.message().await.unwrap().unwrap();
    assert_eq!((first.r#type(), first.upserted.len()), (Type::Snapshot, 3));
    assert_eq!(first.upserted[0].labels["shard"], "1");
    assert_eq!(first.upserted[0].health, "ready");
    services_are(&agent, &SHOP.replace("10.1.2.4:8080', zone: b", "10.1.2.9:8080', zone: b"));
    let second = events.message().await.unwrap().unwrap();
    assert_eq!(second.r#type(), Type::Delta);
    assert_eq!(second.upserted[0].address, "10.1.2.9");
    assert_eq!(second.removed, ["10.1.2.4:8080"]);
}

#[tokio::test]
async fn a_watch_over_http_is_a_line_for_each_event_and_can_be_resumed() {
    let agent = Agent::with(SHOP);
    let mut lines = watch_by_lines(&agent, "").await;
    let first = event(&mut lines).await;
    assert_eq!((&first["type"], &first["service"]), (&json!("SNAPSHOT"), &json!("cart.shop")));
    assert_eq!(first["upserted"].as_array().unwrap().len(), 3);
    let since = format!("&since={}", first["version"].as_str().unwrap());
    let mut resumed = watch_by_lines(&agent, &since).await;
    let bookmark = event(&mut resumed).await;
    assert_eq!((&bookmark["type"], &bookmark["version"]), (&json!("BOOKMARK"), &first["version"]));
    services_are(&agent, &SHOP.replace("zone: b", "zone: c"));
    for lines in [&mut lines, &mut resumed] {
        let delta = event(lines).await;
        assert_eq!((&delta["type"], &delta["upserted"][0]["zone"]), (&json!("DELTA"), &json!("c")));
    }
}

#[tokio::test]
async fn a_watch_ends_with_an_error_once_its_service_is_gone() {
    let agent = Agent::with(SHOP);
    let mut events = watch(&agent, "cart.shop").await;
    let mut lines = watch_by_lines(&agent, "").await;
    events.message().await.unwrap();
    event(&mut lines).await;
    services_are(&agent, &SHOP.replace("cart.shop", "basket.shop"));
    let status = events.message().await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().reason, "NO_SUCH_SERVICE");
    let last = event(&mut lines).await;
    assert_eq!(last["error"]["code"], "NOT_FOUND");
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_service_that_is_not_known_can_not_be_watched() {
    let agent = Agent::with(SHOP);
    let request = WatchServiceRequest { service: "crat.shop".to_owned(), ..Default::default() };
    let status = agent.grpc().await.watch_service(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("cart.shop"), "{status}");
    let mut http = agent.http().await;
    let (status, body) = http.get("/v1/services/crat.shop?watch=true").await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("NOT_FOUND")));

    let silent = Agent::with_silent_source();
    let (status, _) = silent.http().await.get("/v1/services/cart.shop?watch=true").await;
    assert_eq!(status, 504);
}

#[tokio::test]
async fn what_can_not_be_right_in_a_watch_is_refused_by_name() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    for (query, field) in [
        ("watch=yes", "watch"),
        ("watch=true&since=7", "since"),
        ("watch=true&since=nonsense.7", "since"),
        ("since=00000000.1", "\"since\""),
        ("watch=true&until=1", "\"until\""),
        ("watch=true&watch=true", "\"watch\""),
    ] {
        let (status, body) = http.get(&format!("/v1/services/cart.shop?{query}")).await;
        let blamed = &body["error"]["details"][1]["fieldViolations"][0]["field"];
        assert_eq!((status.as_u16(), blamed), (400, &json!(field)), "{query}: {body}");
    }
    let (_, body) = http.get("/v1/services/cart.shop?watch=false").await;
    assert_eq!(body["endpoints"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_version_of_another_agent_or_of_the_future_gets_a_snapshot() {
    let agent = Agent::with(SHOP);
    let mut lines = watch_by_lines(&agent, "").await;
    let version = event(&mut lines).await["version"].as_str().unwrap().to_owned();
    let agent = Agent::in_folder(agent.kill(), &[]);
    agent.logs("answered");
    for since in [version, "ffffffff.99999".to_owned()] {
        let mut lines = watch_by_lines(&agent, &format!("&since={since}")).await;
        assert_eq!(event(&mut lines).await["type"], "SNAPSHOT", "{since}");
    }
}

/// A large service in its nth version.
fn generation(number: usize) -> String {
    let mut services = String::from("services:\n  - name: cart.shop\n    endpoints:\n");
    for index in 0..3000 {
        let (high, low) = (index / 250, index % 250);
        writeln!(
            services,
            "      - {{address: '10.9.{high}.{low}:80', zone: z{number}, node: a-rather-long-name-of-a-node-{index}}}"
        )
        .unwrap();
    }
    services
}

#[tokio::test]
async fn a_watcher_that_does_not_read_gets_the_latest_state_when_it_does() {
    const GENERATIONS: usize = 10;
    let agent = Agent::with(&generation(0));
    let mut lines = watch_by_lines(&agent, "").await;
    let mut http = agent.http().await;
    for number in 1..=GENERATIONS {
        services_are(&agent, &generation(number));
        let zone = format!("z{number}");
        while http.get("/v1/services/cart.shop").await.1["endpoints"][0]["zone"] != zone.as_str() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut zones = BTreeMap::new();
    let mut events = 0;
    let latest = format!("z{GENERATIONS}");
    while zones.values().filter(|zone| **zone == latest).count() < 3000 {
        let event = event(&mut lines).await;
        events += 1;
        for endpoint in event["upserted"].as_array().unwrap() {
            let zone = endpoint["zone"].as_str().unwrap().to_owned();
            zones.insert(endpoint["address"].to_string(), zone);
        }
    }
    // The first version, and a few that the socket and the protocol buffered before the latest.
    assert!(events < GENERATIONS, "{events} events for {GENERATIONS} changes");
    assert_eq!(zones.len(), 3000);
}

// On other threads, so the client learns of the end while this thread waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_waits_for_no_watcher() {
    let mut agent = Agent::with(SHOP);
    let mut events = watch(&agent, "cart.shop").await;
    let mut lines = watch_by_lines(&agent, "").await;
    events.message().await.unwrap();
    event(&mut lines).await;
    let begin = pointsman::clock::now();
    agent.terminate();
    let status = events.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let last = event(&mut lines).await;
    assert_eq!(last["error"]["details"][0]["reason"], "AGENT_ENDING");
    drop(events);
    assert_eq!(agent.ended().code(), Some(0));
    assert!(pointsman::clock::now() - begin < Duration::from_secs(3));
}

#[tokio::test]
async fn a_watcher_that_hangs_up_is_forgotten() {
    let agent = Agent::with(SHOP);
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    let request = "GET /v1/services/cart.shop?watch=true HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 20];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    let line = r#"pointsman_calls_total{call="WatchService",protocol="http",code="CANCELLED"} 1"#;
    for _ in 0..100 {
        if agent.admin_page("/metrics").await.1.lines().any(|each| each == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is still watched");
}
