//! Picks and reports on one gRPC stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::api::v1::{
    Outcome, PickRequest, Report, ReportRequest, SessionAnswer, SessionCall, SessionRequest,
    SessionResponse, agent_client::AgentClient, session_answer::Answer, session_call::Call,
};
use prost::Message;
use tokio::{net::UnixStream, sync::mpsc};
use tonic::{
    Code, Streaming,
    codegen::tokio_stream::{self, StreamExt, wrappers::ReceiverStream},
    transport::Channel,
};

use crate::support::{Agent, SHOP};

/// An open session.
pub(super) struct Session {
    pub(super) requests: mpsc::Sender<SessionRequest>,
    pub(super) responses: Streaming<SessionResponse>,
    unread: Vec<SessionAnswer>,
}

impl Session {
    pub(super) async fn with(agent: &Agent) -> Self {
        Self::over(&mut agent.grpc().await).await
    }

    async fn over(client: &mut AgentClient<Channel>) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let responses = client.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses, unread: Vec::new() }
    }

    async fn send(&self, calls: impl IntoIterator<Item = SessionCall>) {
        self.requests.send(SessionRequest { calls: calls.into_iter().collect() }).await.unwrap();
    }

    async fn answer(&mut self) -> (u64, Answer) {
        while self.unread.is_empty() {
            self.unread = self.responses.message().await.unwrap().expect("an answer").answers;
        }
        let answer = self.unread.remove(0);
        (answer.id, answer.answer.expect("an answer that says something"))
    }

    pub(super) async fn ask(&mut self, call: SessionCall) -> Answer {
        let id = call.id;
        self.send([call]).await;
        let (answered, answer) = self.answer().await;
        assert_eq!(answered, id);
        answer
    }
}

pub(super) fn pick(id: u64, service: &str) -> SessionCall {
    let request = PickRequest { service: service.to_owned(), ..Default::default() };
    SessionCall { id, call: Some(Call::Pick(request)) }
}

fn waiting_pick(id: u64, service: &str) -> SessionCall {
    let wait = Some(Duration::from_secs(5).into());
    let request = PickRequest { service: service.to_owned(), wait, ..Default::default() };
    SessionCall { id, call: Some(Call::Pick(request)) }
}

fn report(id: u64, lease: &str) -> SessionCall {
    let report = Report {
        lease: lease.to_owned(),
        outcome: Outcome::Success.into(),
        latency: Some(Duration::from_millis(3).into()),
        ..Default::default()
    };
    let request = ReportRequest { reports: vec![report] };
    SessionCall { id, call: Some(Call::Report(request)) }
}

fn lease(answer: Answer) -> String {
    match answer {
        Answer::Pick(picked) => picked.picks[0].lease.clone(),
        other => panic!("{other:?}"),
    }
}

/// The code and message of an error.
pub(super) fn error(answer: &Answer) -> (Code, &str) {
    match answer {
        Answer::Error(status) => (Code::from_i32(status.code), &status.message),
        other => panic!("{other:?}"),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

/// Sends these bytes as a session. Returns all answers, and the code that it ended with.
async fn answers_to(agent: &Agent, body: Vec<u8>) -> (Vec<SessionAnswer>, i32) {
    let (responses, code) = responses_to(agent, body).await;
    (responses.into_iter().flat_map(|response| response.answers).collect(), code)
}

/// The same, with the answers of each message by themselves.
async fn responses_to(agent: &Agent, body: Vec<u8>) -> (Vec<SessionResponse>, i32) {
    let request = Request::post("http://localhost/pointsman.v1.Agent/Session")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (response, trailers) = agent.http2(request).await;
    let mut body = response.into_body();
    let mut responses = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let message = body.split_to(5 + length).split_off(5);
        responses.push(SessionResponse::decode(message).unwrap());
    }
    (responses, trailers["grpc-status"].to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn picks_and_reports_go_over_one_session() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    let lease = lease(session.ask(pick(7, "cart.shop")).await);
    agent.in_flight_is("cart.shop", 1).await;
    match session.ask(report(u64::MAX, &lease)).await {
        Answer::Report(reported) => assert_eq!(reported.accepted, 1),
        other => panic!("{other:?}"),
    }
    agent.in_flight_is("cart.shop", 0).await;
    let (_, metrics) = agent.admin_page("/metrics").await;
    for call in ["Pick", "Report"] {
        let line =
            format!(r#"pointsman_calls_total{{call="{call}",protocol="session",code="OK"}} 1"#);
        assert!(metrics.lines().any(|each| each == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_lease_of_a_session_can_be_reported_elsewhere() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    let lease = lease(session.ask(pick(1, "cart.shop")).await);
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
}

#[tokio::test]
async fn calls_of_one_message_are_answered_in_one() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    session.send((0..50).map(|id| pick(id, "cart.shop"))).await;
    let response = session.responses.message().await.unwrap().unwrap();
    let ids: BTreeSet<u64> = response.answers.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, (0..50).collect());
}

#[tokio::test]
async fn a_caller_reads_the_first_of_many_answers_while_the_agent_works_on_the_rest() {
    let agent = Agent::with(SHOP);
    let mut body = Vec::new();
    for id in 0..40 {
        let message = SessionRequest { calls: vec![pick(id, "cart.shop")] }.encode_to_vec();
        body.extend(framed(&message));
    }
    let (responses, code) = responses_to(&agent, body).await;
    let ids: Vec<Vec<u64>> = (responses.iter())
        .map(|response| response.answers.iter().map(|answer| answer.id).collect())
        .collect();
    assert_eq!(ids, [(0..16).collect::<Vec<u64>>(), (16..32).collect(), (32..40).collect()]);
    assert_eq!(code, Code::Ok as i32);
}

#[tokio::test]
async fn a_message_may_have_a_thousand_calls_and_those_beyond_are_refused() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    session.send((0..1003).map(|id| pick(id, "cart.shop"))).await;
    let mut refused = Vec::new();
    for _ in 0..1003 {
        let (id, answer) = session.answer().await;
        if let Answer::Error(_) = &answer {
            let (code, message) = error(&answer);
            assert_eq!(code, Code::ResourceExhausted);
            assert!(message.contains("1000 calls of one message"), "{message}");
            refused.push(id);
        }
    }
    assert_eq!(refused, [1000, 1001, 1002]);
    assert!(matches!(session.ask(pick(1, "cart.shop")).await, Answer::Pick(_)));
}

#[tokio::test]
async fn an_error_ends_its_call_and_not_the_session() {
    let agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    agent.finds_a_suggestion_for("crat.shop").await;
    let answer = session.ask(pick(1, "crat.shop")).await;
    let (code, message) = error(&answer);
    assert_eq!(code, Code::NotFound);
    assert_eq!(message, r#"no service "crat.shop"; did you mean "cart.shop"?"#);
    let Answer::Error(status) = &answer else { unreachable!() };
    assert!(status.details[0].type_url.ends_with("google.rpc.ErrorInfo"), "{status:?}");

    let answer = session.ask(SessionCall { id: 2, call: None }).await;
    assert_eq!(
        error(&answer),
        (Code::InvalidArgument, "call: is missing: a call is a pick or a report")
    );

    let request = ReportRequest { reports: vec![Report::default()] };
    let answer = session.ask(SessionCall { id: 3, call: Some(Call::Report(request)) }).await;
    assert_eq!(error(&answer).0, Code::InvalidArgument);

    let answer = session.ask(report(4, "AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert!(matches!(answer, Answer::Report(reported) if reported.unknown.len() == 1));
    assert!(matches!(session.ask(pick(5, "cart.shop")).await, Answer::Pick(_)));
}

#[tokio::test]
async fn a_call_that_can_not_be_read_fails_alone() {
    let agent = Agent::with(SHOP);
    // Number 9 and a pick whose service is not UTF-8; number 10 and a length beyond the end; only a
    // length beyond the end; a valid call.
    let mut message = vec![0x0a, 8, 0x08, 9, 0x12, 4, 0x0a, 2, 0xff, 0xfe];
    message.extend([0x0a, 4, 0x08, 10, 0x12, 99]);
    message.extend([0x0a, 2, 0x12, 99]);
    message.extend(SessionRequest { calls: vec![pick(11, "cart.shop")] }.encode_to_vec());
    let (answers, code) = answers_to(&agent, framed(&message)).await;
    assert_eq!(code, Code::Ok as i32);
    let by_id: BTreeMap<u64, Answer> =
        answers.into_iter().map(|each| (each.id, each.answer.unwrap())).collect();
    assert_eq!(by_id.keys().copied().collect::<Vec<_>>(), [0, 9, 10, 11]);
    for id in [0, 9, 10] {
        assert_eq!(error(&by_id[&id]).0, Code::InvalidArgument, "{id}: {by_id:?}");
    }
    assert!(error(&by_id[&9]).1.contains("service"), "{by_id:?}");
    assert!(matches!(by_id[&11], Answer::Pick(_)));
}

#[tokio::test]
async fn a_message_that_can_not_be_read_ends_the_session_after_what_came_before() {
    let agent = Agent::with(SHOP);
    let mut body = framed(&SessionRequest { calls: vec![pick(1, "cart.shop")] }.encode_to_vec());
    body.extend(framed(&[0x0a, 0xff, 0x01]));
    let (answers, code) = answers_to(&agent, body).await;
    assert_eq!((answers.len(), code), (1, Code::InvalidArgument as i32));
    let (answers, code) = answers_to(&agent, framed(&vec![0; 2 << 20])).await;
    assert_eq!((answers.len(), code), (0, Code::ResourceExhausted as i32));
    agent.still_serves().await;
}

/// Sends this much of a call's body, and then nothing. Returns the trailers of the answer.
async fn half_sent(agent: &Agent, path: &str, body: Vec<u8>) -> HeaderMap {
    let stream = UnixStream::connect(agent.socket()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let half = tokio_stream::once(Ok::<_, Infallible>(Frame::data(Bytes::from(body))));
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(half.chain(tokio_stream::pending())))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap().into_body().collect();
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an end");
    answer.unwrap().trailers().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_message_that_stops_half_way_ends_the_stream() {
    let agent = Agent::with(SHOP);
    let whole = framed(&SessionRequest { calls: vec![pick(1, "cart.shop")] }.encode_to_vec());
    let half = || [&whole[..], &whole[..whole.len() / 2]].concat();
    // The server of reflection gets an error and simply ends.
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (session, reflection) = tokio::join!(
        half_sent(&agent, "/pointsman.v1.Agent/Session", half()),
        half_sent(&agent, reflection, half()[whole.len()..].to_vec()),
    );
    assert_eq!(session["grpc-status"], "4", "{session:?}");
    let message = session["grpc-message"].to_str().unwrap();
    assert!(message.contains("not%20complete%20after%2010s"), "{message}");
    assert!(reflection.contains_key("grpc-status"), "{reflection:?}");
    agent.still_serves().await;
}

#[tokio::test]
async fn a_pick_that_waits_for_a_source_holds_up_no_other_call() {
    let agent = Agent::with_silent_source();
    let mut session = Session::with(&agent).await;
    session.send([waiting_pick(1, "cart.shop"), report(2, "AAAAAAAAAAAAAAAAAAAAAA")]).await;
    assert_eq!(session.answer().await.0, 2);
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    let (id, answer) = session.answer().await;
    assert_eq!(id, 1);
    lease(answer);
    agent.in_flight_is("cart.shop", 1).await;
}

#[tokio::test]
async fn so_many_picks_of_a_session_may_wait_and_no_more() {
    let agent = Agent::with_silent_source();
    let mut session = Session::with(&agent).await;
    session.send((0..260).map(|id| waiting_pick(id, "cart.shop"))).await;
    for expected in 256..260 {
        let (id, answer) = session.answer().await;
        assert_eq!((id, error(&answer).0), (expected, Code::ResourceExhausted));
    }
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    for _ in 0..256 {
        lease(session.answer().await.1);
    }
}

#[tokio::test]
async fn a_pick_that_waits_in_vain_says_so() {
    let agent = Agent::with_silent_source();
    let mut session = Session::with(&agent).await;
    let answer = session.ask(pick(1, "cart.shop")).await;
    let (code, message) = error(&answer);
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(message.contains("(waited 1s)"), "{message}");
}

#[tokio::test]
async fn a_caller_that_has_sent_all_hears_all_answers_and_the_end() {
    let agent = Agent::with_silent_source();
    let request = SessionRequest { calls: vec![pick(1, "cart.shop"), report(2, "x")] };
    let (answers, code) = answers_to(&agent, framed(&request.encode_to_vec())).await;
    assert_eq!(answers.iter().map(|each| each.id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(code, Code::Ok as i32);
    let (answers, code) = answers_to(&agent, Vec::new()).await;
    assert_eq!((answers.len(), code), (0, 0));
}

#[tokio::test]
async fn a_sessions_leases_end_soon_after_it_though_its_connection_lives_on() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let mut session = Session::over(&mut client).await;
    session.ask(pick(1, "cart.shop")).await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    client.pick(request).await.unwrap();
    agent.in_flight_is("cart.shop", 2).await;
    drop(session);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 2, "a report may be on its way");
    agent.in_flight_is("cart.shop", 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 1, "the other was picked on the connection");
    drop(client);
}

#[tokio::test]
async fn a_session_that_reads_no_answer_is_not_listened_to() {
    let agent = Agent::with(SHOP);
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = sent.clone();
    let endless = tokio_stream::iter(0..).map(move |id| {
        counting.fetch_add(1, Relaxed);
        SessionRequest { calls: vec![pick(id, "cart.shop")] }
    });
    let mut client = agent.grpc().await;
    let responses = client.session(endless).await.unwrap();
    let mut before = usize::MAX;
    while before != sent.load(Relaxed) {
        before = sent.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    // tonic's window is 2 MiB, and an answer has more than 60 bytes. Beyond that the agent keeps
    // little.
    let picked = agent.in_flight("cart.shop").await;
    assert!((1..50_000).contains(&picked), "{picked} picked, {before} sent");
    agent.still_serves().await;
    drop(responses);
}

// On other threads, so the client learns of the end while this thread waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_says_so_and_waits_for_no_session() {
    let mut agent = Agent::with(SHOP);
    let mut session = Session::with(&agent).await;
    session.ask(pick(1, "cart.shop")).await;
    let begin = pointsman::clock::now();
    agent.terminate();
    let status = session.responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("shutting down"), "{status}");
    drop(session);
    assert_eq!(agent.ended().code(), Some(0));
    assert!(pointsman::clock::now() - begin < Duration::from_secs(3));
}
