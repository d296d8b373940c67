//! What one caller may hold, and that others are still served.
//!
//! Another identity needs root. Without root these tests check what they can with one identity.

use std::{
    io::{Read, Write},
    ops::Range,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use pointsman::{
    api::v1::{
        SessionRequest, WatchServiceRequest, agent_client::AgentClient, session_answer::Answer,
    },
    clock,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{
    Code, Response, Status, codegen::tokio_stream::wrappers::ReceiverStream, transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::{
    floods::resident_kib,
    session::{Session, error, pick},
    support::{Agent, SHOP, root_is_here},
};

const MILLION: u64 = 1_000_000;
/// The part of the million that one session asks for.
const BY_ONE: usize = 250_000;

/// Runs on a thread as another user, if this process may become one.
pub(super) fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let as_nobody = || {
        if root_is_here("a flood by another user") {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        what()
    };
    std::thread::scope(|scope| scope.spawn(as_nobody).join().unwrap())
}

pub(super) fn open_more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
}

/// Opens this many connections. Returns those that the agent did not close.
fn connect(socket: &Path, count: usize) -> Vec<UnixStream> {
    let open = |_| UnixStream::connect(socket).unwrap();
    let mut connections: Vec<_> = (0..count).map(open).collect();
    connections.retain_mut(|connection| {
        connection.write_all(b"GET /v1/services HTTP/1.1\r\nhost: x\r\n\r\n").is_ok()
            && connection.read(&mut [0; 4096]).is_ok_and(|read| read > 0)
    });
    connections
}

#[tokio::test]
async fn ten_thousand_connections_of_one_caller_leave_another_served() {
    open_more_files();
    let agent = Agent::with(SHOP);
    let socket = agent.socket();
    agent.open_folder();
    let flood = as_nobody(|| connect(&socket, 10_000));
    assert!(flood.len() > 1_000, "{} were served", flood.len());
    if root_is_here("another user beside a flood") {
        agent.still_serves().await;
    }
    drop(flood);
    agent.still_serves().await;
}

#[tokio::test]
async fn with_few_files_the_last_connections_are_for_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let mut agent = Agent::in_folder_by(folder, &["sh", "-c", "ulimit -n 400; exec \"$@\"", "sh"]);
    agent.logs("answered");
    let socket = agent.socket();
    // Half of the open files are for connections. One caller may have three quarters of those.
    let flood = connect(&socket, 300);
    assert_eq!(flood.len(), 150);
    agent.logs("hung up on a caller: 150 connections are held by this caller");
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("pointsman_connections_refused_total 150\n"), "{metrics}");
    if root_is_here("another user beside a flood") {
        agent.open_folder();
        assert_eq!(as_nobody(|| connect(&socket, 1)).len(), 1);
    }
    drop(flood);
    while !agent.admin_page("/metrics").await.1.contains("pointsman_connections_open 0\n") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.still_serves().await;
    agent.terminate();
    assert!(agent.ended().success());
}

/// Opens streams until the agent refuses one. Returns their number, and the refusal. It opens a new
/// connection when one has its limit of 256 streams.
async fn hoard<S>(
    agent: &Agent,
    open: impl AsyncFn(&mut AgentClient<Channel>) -> Result<S, Status>,
) -> (Vec<S>, Status) {
    let mut streams = Vec::new();
    loop {
        let mut client = agent.grpc().await;
        for _ in 0..250 {
            match open(&mut client).await {
                Ok(stream) => streams.push(stream),
                Err(status) => return (streams, status),
            }
        }
    }
}

#[tokio::test]
async fn who_hoards_sessions_is_refused_until_some_end() {
    let agent = Agent::with(SHOP);
    let open = async |client: &mut AgentClient<Channel>| {
        // A session ends when both sides of it are dropped.
        let (requests, receiver) = mpsc::channel(1);
        let responses = client.session(ReceiverStream::new(receiver)).await?.into_inner();
        Ok((requests, responses))
    };
    let (sessions, refused) = hoard(&agent, open).await;
    assert_eq!(sessions.len(), 768, "three quarters of 1,024");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.metadata["quota"]), ("QUOTA_EXHAUSTED", "sessions"));
    assert!(refused.message().contains("768 sessions are held by this caller"), "{refused}");
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("pointsman_sessions_open 768\n"), "{metrics}");
    drop(sessions);
    let none = async {
        while !agent.admin_page("/metrics").await.1.contains("pointsman_sessions_open 0\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), none).await.expect("all sessions end");
    open(&mut agent.grpc().await).await.unwrap();
}

#[tokio::test]
async fn who_hoards_watches_is_refused_over_grpc_and_http() {
    let agent = Agent::with(SHOP);
    let request = || WatchServiceRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let open = async |client: &mut AgentClient<Channel>| {
        client.watch_service(request()).await.map(Response::into_inner)
    };
    let (watches, refused) = hoard(&agent, open).await;
    assert_eq!(watches.len(), 3_072, "three quarters of 4,096");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().unwrap().metadata["quota"], "watches");
    let (status, body) = agent.http().await.get("/v1/services/cart.shop?watch=true").await;
    assert_eq!(status, 429, "{body}");
    assert_eq!(body["error"]["details"][0]["metadata"]["quota"], "watches");
    let health =
        HealthClient::new(agent.channel().await).watch(HealthCheckRequest::default()).await;
    assert_eq!(health.unwrap_err().code(), Code::ResourceExhausted);
    agent.still_serves().await;
}

#[tokio::test]
async fn who_hoards_leases_is_refused_with_the_quota_and_what_would_be_right() {
    let endpoints: String =
        (1..=64).map(|n| format!("      - {{address: '10.1.2.{n}:80'}}\n")).collect();
    let agent =
        Agent::with(&format!("services:\n  - name: cart.shop\n    endpoints:\n{endpoints}"));
    let mut http = agent.http().await;
    let request = json!({ "service": "cart.shop", "count": 64, "leaseTtl": "600s" }).to_string();
    let refused = loop {
        let (status, body) = http.post("/v1/pick", request.clone()).await;
        if status != 200 {
            assert_eq!(status, 429, "{body}");
            break body;
        }
    };
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("leases are held by this caller"), "{message}");
    assert!(message.contains("report leases when their requests end"), "{message}");
    assert_eq!(refused["error"]["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(refused["error"]["details"][0]["metadata"]["quota"], "leases");
    if root_is_here("another user beside a flood") {
        let picked = agent.cli_as_nobody(&["pick", "cart.shop"]);
        assert!(picked.code == 0 && picked.stdout.starts_with("10.1.2."), "{picked:?}");
    }
}

#[tokio::test]
async fn tables_for_labels_are_bounded() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let mut refused = None;
    for shard in 0..2_000 {
        let request = json!({ "service": "cart.shop", "selector": { "shard": shard.to_string() } });
        let (status, body) = http.post("/v1/pick", request.to_string()).await;
        if status == 429 {
            refused = Some((shard, body));
            break;
        }
    }
    let (shard, body) = refused.expect("a bound");
    assert_eq!(shard, 768, "three quarters of 1024");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("768 tables for labels are held by this caller"), "{message}");
    let one = json!({ "service": "cart.shop", "selector": { "shard": "1" } });
    assert_eq!(http.post("/v1/pick", one.to_string()).await.0, 200, "it is there already");
    agent.still_serves().await;
}

/// Starts an agent with two namespaces and this access for its callers.
fn agent_with_access(access: &str) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let services =
        format!("{SHOP}  - name: ledger.bank\n    endpoints: [{{address: '10.3.0.1:80'}}]\n");
    std::fs::write(folder.path().join("services.yaml"), services).unwrap();
    let config = folder.path().join("agent.yaml");
    std::fs::write(&config, format!("access: {access}\n")).unwrap();
    let agent = Agent::in_folder(folder, &["--config", config.to_str().unwrap()]);
    agent.logs("answered");
    agent
}

#[tokio::test]
async fn a_session_has_no_access_that_its_caller_has_not() {
    let agent = agent_with_access("[{uids: any, namespaces: [shop]}]");
    let mut session = Session::with(&agent).await;
    for name in ["ledger.bank", "nothing.bank", "ledger.bank:80"] {
        let answer = session.ask(pick(1, name)).await;
        let (code, message) = error(&answer);
        assert_eq!(code, Code::PermissionDenied, "{name}: {message}");
        assert!(message.contains("may not ask for services of namespace \"bank\""), "{message}");
    }
    assert!(matches!(session.ask(pick(2, "cart.shop")).await, Answer::Pick(_)));
}

#[tokio::test]
async fn sighup_gives_and_takes_access() {
    let agent = agent_with_access("[]");
    let mut session = Session::with(&agent).await;
    let mut picked = async |name| match session.ask(pick(1, name)).await {
        Answer::Pick(_) => Code::Ok,
        refused => error(&refused).0,
    };
    assert_eq!((picked("cart.shop").await, picked("ledger.bank").await), (Code::Ok, Code::Ok));
    let request = WatchServiceRequest { service: "ledger.bank".to_owned(), ..Default::default() };
    let mut watch = agent.grpc().await.watch_service(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    let config = agent.folder.path().join("agent.yaml");
    std::fs::write(&config, "access: [{uids: any, namespaces: [shop]}]\n").unwrap();
    agent.signal(Signal::HUP);
    agent.logs("access_changed=true");
    let now = (picked("cart.shop").await, picked("ledger.bank").await);
    assert_eq!(now, (Code::Ok, Code::PermissionDenied));
    // The caller no longer gets changes of the service.
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::PermissionDenied);

    std::fs::write(&config, "access: [{uids: any}]\n").unwrap();
    agent.signal(Signal::HUP);
    for _ in 0..1000 {
        if picked("ledger.bank").await != Code::PermissionDenied {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no access");
}

#[tokio::test]
async fn a_caller_may_know_of_its_own_namespaces_only() {
    let own = rustix::process::geteuid().as_raw();
    let agent = agent_with_access(&format!("[{{uids: {own}, namespaces: [shop]}}]"));
    let mut http = agent.http().await;
    let ledger = json!({ "service": "ledger.bank" }).to_string();
    let (status, body) = http.post("/v1/pick", ledger).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (403, &json!("PERMISSION_DENIED")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("uid {own} may not ask for services of namespace")));
    for path in ["", "?watch=true", "/explain"] {
        let path = format!("/v1/services/ledger.bank{path}");
        assert_eq!(http.get(&path).await.0, 403, "{path}");
    }
    let (_, listed) = http.get("/v1/services").await;
    let names: Vec<_> =
        listed["services"].as_array().unwrap().iter().map(|s| &s["service"]).collect();
    assert_eq!(names, ["cart.shop", "pay.shop"]);
    let (_, near) = http.post("/v1/pick", json!({ "service": "ledger.shop" }).to_string()).await;
    assert!(!near.to_string().contains("bank"), "{near}");
    agent.still_serves().await;
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_up() {
    let agent = Agent::with(SHOP);
    let mut half = UnixStream::connect(agent.socket()).unwrap();
    half.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    half.write_all(b"POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    agent.still_serves().await;
    let mut answer = [0; 512];
    let length = half.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("not complete after 10s"), "{answer}");
}

/// Names that no service has, all different: it turns each number from 0 on into another number.
fn nowhere(n: u64) -> String {
    // An odd factor, so that no two products are equal. It comes from the golden ratio, so that no two
    // are similar.
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("s{scattered:016x}.n{:x}", scattered >> 60)
}

/// Picks from all of these over one session, in messages of the largest size.
async fn ask_for_nothing(session: Session, numbers: Range<u64>) {
    let Session { requests, mut responses, .. } = session;
    let count = numbers.end - numbers.start;
    let sending = tokio::spawn(async move {
        for first in numbers.step_by(1000) {
            let calls = (first..first + 1000).map(|n| pick(n, &nowhere(n))).collect();
            requests.send(SessionRequest { calls }).await.unwrap();
        }
    });
    let mut answered = 0;
    while let Some(message) = responses.message().await.unwrap() {
        for answer in message.answers {
            assert_eq!(error(&answer.answer.unwrap()).0, Code::NotFound);
            answered += 1;
        }
    }
    sending.await.unwrap();
    assert_eq!(answered, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_who_asks_for_a_million_services_that_are_not_there_takes_no_one_s_time() {
    let agent = Agent::with(SHOP);
    let mut other = agent.http().await;
    other.pick("cart.shop").await;
    let before = resident_kib(&agent);
    let mut asking = JoinSet::new();
    for first in (0..MILLION).step_by(BY_ONE) {
        let session = Session::with(&agent).await;
        asking.spawn(ask_for_nothing(session, first..first + BY_ONE as u64));
    }
    let mut longest = Duration::ZERO;
    while !asking.is_empty() {
        let begin = clock::now();
        other.pick("cart.shop").await;
        longest = longest.max(clock::now() - begin);
        tokio::time::sleep(Duration::from_millis(20)).await;
        while let Some(asked) = asking.try_join_next() {
            asked.unwrap();
        }
    }
    assert!(longest < Duration::from_secs(2), "another waited for {longest:?}");
    let grown = resident_kib(&agent).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(!metrics.contains("service=\"s"), "a name that is none makes no time series");
    agent.still_serves().await;
}
