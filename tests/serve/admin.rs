//! The pages for Kubernetes, Prometheus and people.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{
    floods::resident_kib,
    support::{Agent, SHOP},
};

/// Far more connections than the limit.
const GUESTS: usize = 500;

/// Whether the agent has closed the connection.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1024]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[tokio::test]
async fn who_fills_the_admin_address_with_half_requests_holds_nothing_and_no_one_up() {
    let agent = Agent::with(SHOP);
    assert_eq!(agent.admin_page("/livez").await.0, 200);
    let before = resident_kib(&agent);
    let mut guests = Vec::new();
    for _ in 0..GUESTS {
        let mut stream = TcpStream::connect(agent.admin()).unwrap();
        // The agent may have closed it already.
        let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\na: {}", "x".repeat(7000));
        stream.write_all(head.as_bytes()).ok();
        stream.set_nonblocking(true).unwrap();
        guests.push(stream);
    }
    for _ in 0..20 {
        let page = tokio::time::timeout(Duration::from_secs(5), agent.admin_page("/livez"));
        assert_eq!(page.await.expect("a probe gets through").0, 200);
    }
    guests.retain_mut(|stream| !is_over(stream));
    assert!(guests.len() <= 16, "{} are connected", guests.len());
    let grown = resident_kib(&agent).saturating_sub(before);
    assert!(grown < 6 << 10, "{grown} KiB more");
    // A request's head may take 5 s.
    tokio::time::sleep(Duration::from_millis(6500)).await;
    guests.retain_mut(|stream| !is_over(stream));
    assert_eq!(guests.len(), 0, "are still connected");
}

#[tokio::test]
async fn an_idle_connection_to_the_admin_address_ends() {
    let agent = Agent::with(SHOP);
    let mut stream = TcpStream::connect(agent.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn the_admin_pages_are_back_once_there_are_file_descriptors_again() {
    let agent = Agent::with(SHOP);
    assert_eq!(agent.admin_page("/livez").await.0, 200);
    let pid = Pid::from_raw(agent.pid().cast_signed());
    let limit = |files| {
        let limit = Rlimit { current: Some(files), maximum: Some(1024) };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    // Fewer bytes than the request has.
    limit(3);
    let mut waits = TcpStream::connect(agent.admin()).unwrap();
    waits.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    agent.logs("a connection to the admin address could not be accepted");
    limit(1024);
    waits.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(agent.admin_page("/livez").await.0, 200);
    assert!(!agent.has_logged("panicked"));
}

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
    for part in ["pointsman", "ready", "2 services", "/metrics", "agent.sock", "asleep"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_address, _lease) = agent.http().await.pick("cart.shop").await;
    let (_, text) = agent.admin_page("/").await;
    let uid = rustix::process::geteuid().as_raw();
    assert!(
        text.contains(&format!("<tr><td>uid {uid}<td>1\n<tr><td>all<td>1 of 262144")),
        "{text}"
    );
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
async fn picks_that_leave_the_zone_are_counted() {
    let agent = Agent::with_arguments(SHOP, &["--zone", "a"]);
    let mut http = agent.http().await;
    for (shard, times) in [("1", 5), ("2", 3)] {
        for _ in 0..times {
            let request = serde_json::json!({"service": "cart.shop", "selector": {"shard": shard}});
            assert_eq!(http.post("/v1/pick", request.to_string()).await.0, 200);
        }
    }
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("picks_total{service=\"cart.shop\"} 8\n"), "{metrics}");
    assert!(metrics.contains("picks_other_zone_total{service=\"cart.shop\"} 3\n"), "{metrics}");
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let agent = Agent::with_arguments(SHOP, &["--endpoint-metrics"]);
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

#[tokio::test]
async fn single_endpoints_are_told_to_whoever_asks_for_them() {
    let agent = Agent::with_arguments(SHOP, &["--endpoint-metrics"]);
    let mut http = agent.http().await;
    let (address, lease) = http.pick("cart.shop").await;
    http.report(&lease, "FAILURE").await;
    let labels = format!("service=\"cart.shop\",endpoint=\"{address}\"");
    let failed = format!("pointsman_endpoint_requests_total{{{labels},outcome=\"failed\"}} 1");
    for _ in 0..500 {
        let (_, text) = agent.admin_page("/metrics").await;
        assert!(text.contains(&format!("pointsman_endpoint_in_flight{{{labels}}}")), "{text}");
        if text.lines().any(|line| line == failed) {
            let (_, text) = Agent::with(SHOP).admin_page("/metrics").await;
            assert!(!text.contains("pointsman_endpoint_"), "not unless asked for: {text}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never {failed}: {}", agent.admin_page("/metrics").await.1);
}

#[tokio::test]
async fn single_requests_are_logged_to_whoever_asks_for_it() {
    let log = ["--log", "info,pointsman::request=debug", "--log-format", "json"];
    let agent = Agent::with_arguments(SHOP, &log);
    let mut http = agent.http().await;
    let (address, lease) = http.pick("cart.shop").await;
    http.report(&lease, "SUCCESS").await;
    let line = |message: &str| -> serde_json::Value {
        serde_json::from_str(&agent.logs(&format!("\"message\":\"{message}\""))).unwrap()
    };
    let (picked, reported) = (line("picked"), line("reported"));
    assert_eq!((&picked["lease"], &reported["lease"]), (&lease.as_str().into(), &picked["lease"]));
    assert_eq!((&picked["endpoint"], &picked["service"]), (&address.into(), &"cart.shop".into()));
    assert_eq!(reported["known"], true);
}
