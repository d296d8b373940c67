//! gRPC on the socket.

use std::time::Duration;

use crate::support::{Agent, SHOP};
use pointsman::{
    api::v1::{
        ExplainRequest, GetServiceRequest, ListCallersRequest, ListServicesRequest, Outcome,
        PickRequest, Report, ReportRequest, SessionCall, SessionRequest, WatchServiceRequest,
        session_call,
    },
    serve::counters::Call,
};
use tonic::{Code, codegen::tokio_stream};
use tonic_types::StatusExt;

fn pick(service: &str) -> PickRequest {
    PickRequest { service: service.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_pick_and_its_report_go_over_one_connection() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let picked = client.pick(pick("cart.shop")).await.unwrap().into_inner();
    agent.in_flight_is("cart.shop", 1).await;
    let report = Report {
        lease: picked.picks[0].lease.clone(),
        outcome: Outcome::Success.into(),
        latency: Some(Duration::from_millis(3).into()),
        ..Default::default()
    };
    let request = ReportRequest { reports: vec![report] };
    let reported = client.report(request).await.unwrap().into_inner();
    assert_eq!((reported.accepted, reported.unknown.len()), (1, 0));
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn every_call_is_served() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let listed = client.list_services(ListServicesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.services.len(), 2);
    let service = GetServiceRequest { service: "cart.shop".to_owned() };
    assert_eq!(client.get_service(service).await.unwrap().into_inner().endpoints.len(), 3);
    let service = ExplainRequest { service: "cart.shop".to_owned(), ..Default::default() };
    assert_eq!(client.explain(service).await.unwrap().into_inner().endpoints.len(), 3);
    let lease = client.pick(pick("cart.shop")).await.unwrap().into_inner().picks.remove(0).lease;
    let report = Report { lease, outcome: Outcome::Success.into(), ..Default::default() };
    let request = ReportRequest { reports: vec![report] };
    assert_eq!(client.report(request).await.unwrap().into_inner().accepted, 1);
    let request = WatchServiceRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let mut watched = client.watch_service(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().upserted.len(), 3);
    let call = SessionCall { id: 7, call: Some(session_call::Call::Pick(pick("cart.shop"))) };
    let requests = tokio_stream::once(SessionRequest { calls: vec![call] });
    let mut session = client.session(requests).await.unwrap().into_inner();
    assert_eq!(session.message().await.unwrap().unwrap().answers[0].id, 7);
    assert!(session.message().await.unwrap().is_none());
    client.list_callers(ListCallersRequest::default()).await.unwrap();
    // A stream counts when it ends.
    drop(watched);
    drop(client);
    let counted = async |call: Call| loop {
        let (_, metrics) = agent.admin_page("/metrics").await;
        let line = format!("calls_total{{call=\"{}\",protocol=\"grpc\",code=", call.name());
        if metrics.contains(&line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for call in Call::ALL {
        let counted = tokio::time::timeout(Duration::from_secs(20), counted(call));
        counted.await.unwrap_or_else(|_| panic!("{} was not called", call.name()));
    }
}

#[tokio::test]
async fn a_near_miss_is_in_the_message_and_the_details() {
    let agent = Agent::with(SHOP);
    agent.finds_a_suggestion_for("crat.shop").await;
    let status = agent.grpc().await.pick(pick("crat.shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), r#"no service "crat.shop"; did you mean "cart.shop"?"#);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.metadata["near"].as_str()),
        ("NO_SUCH_SERVICE", "cart.shop")
    );
}

#[tokio::test]
async fn a_field_that_can_not_be_right_is_in_the_details() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { count: u32::MAX, ..pick("cart.shop") };
    let status = client.pick(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violation = &status.get_details_bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, "count");
    assert_eq!(violation.description, "is 4294967295: it must be at most 64");
    let negative = pbjson_types::Duration { seconds: -1, nanos: -5 };
    let report =
        Report { lease: "x".to_owned(), outcome: 1, latency: Some(negative), ..Default::default() };
    let status = client.report(ReportRequest { reports: vec![report] }).await.unwrap_err();
    let violation = &status.get_details_bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, "reports[0].latency");
}

#[tokio::test]
async fn a_service_without_a_ready_endpoint_is_unavailable_and_says_why() {
    let services = SHOP.replace("labels", "health: unready, labels");
    let agent = Agent::with(&services);
    let status = agent.grpc().await.pick(pick("cart.shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("3 endpoints"), "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "NO_ENDPOINT");
}

#[tokio::test]
async fn the_lesser_of_deadline_and_wait_is_waited_for_a_silent_source() {
    let agent = Agent::with_silent_source();
    let mut message = vec![0, 0, 0, 0, 11, 0x0a, 9];
    message.extend(b"cart.shop");
    for (timeout, waited) in [("100m", "90ms"), ("20S", "1s")] {
        let (code, text) = agent
            .grpc_raw("/pointsman.v1.Agent/Pick", message.clone(), &[("grpc-timeout", timeout)])
            .await;
        assert_eq!(code, Code::DeadlineExceeded as i32, "{text}");
        assert!(
            text.contains(&format!("waited%20{waited}"))
                || text.contains(&format!("waited {waited}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_callers_own_timer_is_not_sooner_than_the_answer_that_says_why() {
    let agent = Agent::with_silent_source();
    let mut client = agent.grpc().await;
    let mut request = tonic::Request::new(pick("cart.shop"));
    // The client of tonic ends the call as CANCELLED without details after this time.
    request.set_timeout(Duration::from_millis(500));
    let status = client.pick(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "SOURCE_NOT_ANSWERED");
}

#[tokio::test]
async fn a_source_that_answers_meanwhile_is_worth_the_wait() {
    let agent = Agent::with_silent_source();
    let mut client = agent.grpc().await;
    let wait = Some(Duration::from_secs(5).into());
    let request = PickRequest { wait, ..pick("cart.shop") };
    let waiting = tokio::spawn(async move { client.pick(request).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    let picked = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(picked.picks.len(), 1);
}
