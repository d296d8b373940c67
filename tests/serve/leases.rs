//! Leases over several connections and identities.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::api::v1::{
    Event, Outcome, PickRequest, Report, ReportRequest, SessionCall, SessionRequest,
    session_answer::Answer, session_call::Call,
};
use prost::Message;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::{
    session::Session,
    support::{Agent, SHOP, root_is_here},
};

/// A short time of a lease. It is also the time for which an unreported pick of a new service counts.
const SHORT: Duration = Duration::from_millis(100);

fn pick() -> PickRequest {
    PickRequest { service: "cart.shop".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_http_lease_outlives_its_connection_and_is_reported_on_another() {
    let agent = Agent::with(SHOP);
    let (_, lease) = agent.http().await.pick("cart.shop").await;
    agent.in_flight_is("cart.shop", 1).await;
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_grpc_lease_is_reported_on_another_connection_too() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let picked = client.pick(request).await.unwrap().into_inner();
    assert!(agent.http().await.report(&picked.picks[0].lease, "FAILURE").await);
}

#[tokio::test]
async fn a_grpc_lease_ends_soon_after_its_connection() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    client.pick(request).await.unwrap();
    let (_, kept) = agent.http().await.pick("cart.shop").await;
    agent.in_flight_is("cart.shop", 2).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 2, "a report may be on its way");
    agent.in_flight_is("cart.shop", 1).await;
    assert!(agent.http().await.report(&kept, "SUCCESS").await);
}

#[tokio::test]
async fn a_lease_reported_twice_is_accepted_and_counted_once() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    assert!(http.report(&lease, "FAILURE").await);
    assert!(http.report(&lease, "FAILURE").await);
    let (_, metrics) = agent.admin_page("/metrics").await;
    let counted = r#"pointsman_requests_ended_total{service="cart.shop",outcome="failure"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[tokio::test]
async fn a_lease_nobody_reports_ends_by_its_time() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let request = r#"{"service": "cart.shop", "leaseTtl": "0.3s"}"#;
    http.post("/v1/pick", request).await;
    agent.in_flight_is("cart.shop", 1).await;
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_in_flight() {
    let agent = Agent::with(SHOP);
    for _ in 0..200 {
        let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
        let request = "POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 23\r\n\r\n\
                       {\"service\":\"cart.shop\"}";
        stream.write_all(request.as_bytes()).await.unwrap();
        // The caller reads no byte, so nothing takes the answer whenever it comes.
        drop(stream);
    }
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_pick_that_waits_is_cancelled_with_its_caller() {
    let agent = Agent::with_silent_source();
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    let request = "POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 35\r\n\r\n\
                   {\"service\":\"cart.shop\",\"wait\":\"5s\"}";
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    agent.logs("answered");
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn another_users_lease_is_unknown() {
    if !root_is_here("reporting the lease of another user") {
        return;
    }
    let agent = Agent::with(SHOP);
    let (_, lease) = agent.http().await.pick("cart.shop").await;
    let stranger = agent.cli_as_nobody(&["report", &lease, "--outcome", "failure"]);
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(stranger.stderr.contains("unknown"), "{stranger:?}");
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
}

/// Reports an event of one lease. Returns whether the lease was known.
async fn event(agent: &Agent, lease: &str, event: &str, ttl: &str) -> bool {
    let report = json!({ "reports": [{ "lease": lease, "event": event, "leaseTtl": ttl }] });
    let (status, body) = agent.http().await.post("/v1/report", report.to_string()).await;
    assert_eq!(status, 200, "{body}");
    body["accepted"] == 1
}

#[tokio::test]
async fn leases_of_a_pool_of_connections_are_reported_on_any_of_them() {
    let agent = Agent::with(SHOP);
    let mut pool = Vec::new();
    for _ in 0..8 {
        pool.push(agent.http().await);
    }
    let mut leases = Vec::new();
    for turn in 0..40 {
        leases.push(pool[turn % 8].pick("cart.shop").await.1);
    }
    agent.in_flight_is("cart.shop", 40).await;
    // As connection pools do: some connections close, and others open.
    pool.truncate(3);
    pool.push(agent.http().await);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 40, "a connection's end is no lease's");
    for (turn, lease) in leases.iter().enumerate() {
        assert!(pool[turn % 4].report(lease, "SUCCESS").await);
    }
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_renewed_lease_outlives_its_first_time_and_ends_by_the_next() {
    let agent = Agent::with(SHOP);
    let request = r#"{"service": "cart.shop", "leaseTtl": "1s"}"#;
    let (_, picked) = agent.http().await.post("/v1/pick", request).await;
    let lease = picked["picks"][0]["lease"].as_str().unwrap();
    assert!(event(&agent, lease, "RENEWED", "3s").await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 1);
    agent.in_flight_is("cart.shop", 0).await;
    // The agent still remembers its end, and accepts no other event.
    assert!(!event(&agent, lease, "RENEWED", "60s").await);
    assert!(!event(&agent, lease, "STARTED", "60s").await);
    assert!(agent.http().await.report(lease, "SUCCESS").await);
    assert_eq!(agent.in_flight("cart.shop").await, 0);
    let late = agent.cli(&["report", lease, "--event", "renewed"]);
    assert_eq!(late.code, 1);
    assert!(late.stderr.contains("until its end: pick again"), "{late:?}");
}

#[tokio::test]
async fn a_session_hears_too_that_a_lease_has_ended() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    let request = PickRequest { lease_ttl: Some(SHORT.into()), ..pick() };
    let call = SessionCall { id: 1, call: Some(Call::Pick(request)) };
    let Answer::Pick(picked) = session.ask(call).await else { panic!("no pick") };
    tokio::time::sleep(SHORT * 3).await;
    for (event, unknown) in [(Event::Renewed, 1), (Event::Started, 1), (Event::Ended, 0)] {
        let report = Report {
            lease: picked.picks[0].lease.clone(),
            event: event.into(),
            outcome: Outcome::Success.into(),
            ..Report::default()
        };
        let request = ReportRequest { reports: vec![report] };
        let call = SessionCall { id: 2, call: Some(Call::Report(request)) };
        let Answer::Report(answer) = session.ask(call).await else { panic!("no report") };
        assert_eq!((answer.accepted, answer.unknown.len()), (1 - unknown, unknown as usize));
    }
}

#[tokio::test]
async fn who_will_not_report_gets_no_lease_and_counts_for_a_while() {
    let agent = Agent::with(SHOP);
    let request = r#"{"service": "cart.shop", "noReport": true, "count": 2}"#;
    let (status, picked) = agent.http().await.post("/v1/pick", request).await;
    assert_eq!(status, 200, "{picked}");
    assert_eq!(picked["picks"].as_array().unwrap().len(), 2);
    assert!(picked["picks"][0].get("lease").is_none(), "{picked}");
    for line in [
        r#"pointsman_picks_no_report_total{service="cart.shop"} 1"#,
        r#"pointsman_requests_ended_total{service="cart.shop",outcome="cancelled"} 1"#,
        r#"pointsman_leases_expired_total{service="cart.shop"} 0"#,
    ] {
        agent.metrics_say(line).await;
    }
    agent.in_flight_is("cart.shop", 0).await;
    // The caller may know the time better than the agent does.
    let request = r#"{"service": "cart.shop", "noReport": true, "leaseTtl": "60s"}"#;
    agent.http().await.post("/v1/pick", request).await;
    let request = PickRequest { no_report: true, ..pick() };
    let picked = agent.grpc().await.pick(request.clone()).await.unwrap().into_inner();
    assert_eq!(picked.picks[0].lease, "");
    let call = SessionCall { id: 1, call: Some(Call::Pick(request)) };
    let Answer::Pick(picked) = Session::with(&agent).await.ask(call).await else {
        panic!("no pick")
    };
    assert_eq!(picked.picks[0].lease, "");
    agent.in_flight_is("cart.shop", 1).await;
}

/// With two endpoints: the number of 400 requests in sequence that go to the endpoint which another
/// request uses.
async fn beside(agent: &Agent, first: &str) -> usize {
    let mut http = agent.http().await;
    let (_, picked) = http.post("/v1/pick", first).await;
    let port = picked["picks"][0]["port"].clone();
    tokio::time::sleep(SHORT * 3).await;
    let mut there = 0;
    for _ in 0..400 {
        let (_, picked) = http.post("/v1/pick", r#"{"service": "cart.shop"}"#).await;
        there += usize::from(picked["picks"][0]["port"] == port);
        assert!(http.report(picked["picks"][0]["lease"].as_str().unwrap(), "SUCCESS").await);
    }
    there
}

#[tokio::test]
async fn a_pick_that_nobody_reports_keeps_no_requests_away() {
    let agent = Agent::with(
        "services: [{name: cart.shop, endpoints: [{address: '10.1.2.3:1'}, {address: '10.1.2.3:2'}]}]",
    );
    let there = beside(&agent, r#"{"service": "cart.shop", "noReport": true}"#).await;
    assert!((100..300).contains(&there), "{there} of 400");
}

#[tokio::test]
async fn a_grpc_lease_can_be_renewed_but_not_past_its_connection() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let picked = client.pick(request).await.unwrap().into_inner();
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(event(&agent, &picked.picks[0].lease, "RENEWED", "60s").await);
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn of_several_picks_the_others_are_in_flight_once_started() {
    let agent = Agent::with(SHOP);
    let request = r#"{"service": "cart.shop", "count": 3}"#;
    let (_, picked) = agent.http().await.post("/v1/pick", request).await;
    let lease = |index: usize| picked["picks"][index]["lease"].as_str().unwrap();
    agent.in_flight_is("cart.shop", 1).await;
    assert!(event(&agent, lease(1), "STARTED", "60s").await);
    agent.in_flight_is("cart.shop", 2).await;
    for index in 0..3 {
        assert!(agent.http().await.report(lease(index), "CANCELLED").await);
    }
    agent.in_flight_is("cart.shop", 0).await;
}

/// A pick over gRPC that waits for the source.
fn waiting() -> PickRequest {
    let wait = Some(Duration::from_secs(5).into());
    PickRequest { service: "cart.shop".to_owned(), wait, ..Default::default() }
}

fn grpc(call: &str, message: &impl Message) -> Request<Full<Bytes>> {
    let mut body = vec![0, 0, 0, 0, u8::try_from(message.encoded_len()).unwrap()];
    body.extend(message.encode_to_vec());
    Request::post(format!("http://localhost/pointsman.v1.Agent/{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

#[tokio::test]
async fn a_grpc_pick_that_is_cancelled_while_it_waits_picks_nothing() {
    let agent = Agent::with_silent_source();
    let mut client = agent.grpc().await;
    let cancelled = tokio::time::timeout(Duration::from_millis(200), client.pick(waiting()));
    assert!(cancelled.await.is_err());
    let stream = UnixStream::connect(agent.socket()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let call = SessionCall { id: 1, call: Some(Call::Pick(waiting())) };
    let message = SessionRequest { calls: vec![call] };
    sender.send_request(grpc("Session", &message)).await.unwrap();
    connection.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    agent.logs("answered");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(!metrics.contains("pointsman_picks_total{"), "{metrics}");
    // The first caller's connection stays.
    assert_eq!(client.pick(waiting()).await.unwrap().into_inner().picks.len(), 1);
}

#[tokio::test]
async fn a_grpc_answer_that_its_caller_never_takes_ends_its_pick_unused() {
    let agent = Agent::with(SHOP);
    let stream = UnixStream::connect(agent.socket()).await.unwrap();
    // Without a window the agent may send no byte of a body.
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let message = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let response = sender.send_request(grpc("Pick", &message)).await.unwrap();
    agent.in_flight_is("cart.shop", 1).await;
    // Resets the stream. The connection stays.
    drop(response);
    agent.in_flight_is("cart.shop", 0).await;
    assert!(!sender.is_closed());
}
