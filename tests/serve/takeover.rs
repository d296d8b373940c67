//! One agent takes over from another.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use pointsman::api::v1::{
    PickRequest, Report, ReportRequest, WatchServiceRequest, agent_client::AgentClient,
};
use pointsman::clock;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::support::{Agent, Http, Ran, SHOP, command, eject, grpc_client, state_of};

/// The number of times that the agent changes under load.
const TAKEOVERS: usize = 100;
/// How often in a row a client may find its connection closed before it has sent anything.
const UNSENT: u32 = 3;
/// The most that one call may take. A change of agents takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// A channel that answers nothing for this long is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// The number of times that an agent is killed at some point.
const KILLS: u64 = 40;
/// The time over which these points are spread: longer than a start or a take-over.
const SPREAD: Duration = Duration::from_millis(300);

fn successor(of: &Agent) -> Agent {
    Agent::in_folder(of.folder.clone(), &["--takeover"])
}

fn holder(folder: &TempDir) -> u32 {
    let pid = fs::read_to_string(folder.path().join("agent.sock.lock")).unwrap();
    pid.trim().parse().unwrap()
}

#[tokio::test]
async fn the_new_agent_serves_and_the_old_one_ends_by_itself() {
    let mut old = Agent::with(SHOP);
    let door = fs::metadata(old.folder.path().join("agent.sock.takeover")).unwrap();
    assert_eq!(door.permissions().mode() & 0o777, 0o600);
    let new = successor(&old);
    new.logs("took over");
    assert_eq!(holder(&new.folder), new.pid());
    assert_eq!(old.ended().code(), Some(0));
    new.still_serves().await;
    let refused: Ran = command(new.folder.path()).output().unwrap().into();
    assert!(refused.stderr.contains(&format!("live agent, pid {}", new.pid())), "{refused:?}");
}

#[tokio::test]
async fn an_agent_that_stays_is_alive_and_unready_until_it_is_told_to_end() {
    let mut old = Agent::with_arguments(SHOP, &["--stay"]);
    let new = successor(&old);
    old.logs("waiting for a signal to end");
    assert_eq!(old.admin_page("/livez").await.0, 200);
    assert_eq!(old.admin_page("/readyz").await.0, 503);
    new.still_serves().await;
    old.terminate();
    assert_eq!(old.ended().code(), Some(0));
    new.still_serves().await;
}

#[tokio::test]
async fn taking_over_where_nobody_serves_is_an_ordinary_start() {
    let folder = Agent::with(SHOP).kill();
    let agent = Agent::in_folder(folder, &["--takeover"]);
    agent.still_serves().await;
}

#[tokio::test]
async fn an_ejected_endpoint_stays_ejected() {
    let old = Agent::with(SHOP);
    let bad = "10.1.2.4:8080";
    eject(&old, "cart.shop", bad).await;
    let new = successor(&old);
    assert_eq!(state_of(&new, "cart.shop", bad).await, "ejected");
}

#[tokio::test]
async fn a_lease_of_the_old_agent_counts_at_the_new_one_and_is_reported_to_either() {
    let old = Agent::with(SHOP);
    let mut lasting = old.http().await;
    let (_, first) = old.http().await.pick("cart.shop").await;
    let (_, second) = lasting.pick("cart.shop").await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let mut grpc = old.grpc().await;
    let third = grpc.pick(request).await.unwrap().into_inner().picks.remove(0).lease;
    let new = successor(&old);
    new.in_flight_is("cart.shop", 3).await;
    assert!(new.http().await.report(&first, "SUCCESS").await);
    new.in_flight_is("cart.shop", 2).await;
    // Over the connection to the old agent, which ends with this answer.
    assert!(lasting.report(&second, "SUCCESS").await);
    new.in_flight_is("cart.shop", 1).await;
    // The take-over ended this connection, and not the caller.
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert_eq!(new.in_flight("cart.shop").await, 1);
    assert!(new.http().await.report(&third, "SUCCESS").await);
    new.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_pick_and_a_report_across_the_change_find_each_other() {
    let mut old = Agent::with(SHOP);
    let mut lasting = old.http().await;
    lasting.pick("cart.shop").await;
    let mut lasting_too = old.http().await;
    lasting_too.pick("cart.shop").await;
    let new = successor(&old);
    old.logs("handed over");
    new.in_flight_is("cart.shop", 2).await;
    // Picked at the old agent after the change, and reported at the new one.
    let (_, late) = lasting.pick("cart.shop").await;
    new.in_flight_is("cart.shop", 3).await;
    assert!(new.http().await.report(&late, "SUCCESS").await);
    // The reverse.
    let (_, lease) = new.http().await.pick("cart.shop").await;
    new.in_flight_is("cart.shop", 3).await;
    assert!(lasting_too.report(&lease, "SUCCESS").await);
    new.in_flight_is("cart.shop", 2).await;
    assert_eq!(old.ended().code(), Some(0), "nobody is connected any more");
}

/// Picks this many leases over HTTP, 64 at a time, and the rest in one batch.
async fn pick_leases(agent: &Agent, count: usize) -> Vec<String> {
    let mut http = agent.http().await;
    let request = json!({ "service": "cart.shop", "count": 64, "leaseTtl": "3600s" }).to_string();
    let mut leases = Vec::new();
    while leases.len() < count {
        let (status, _, body) = http.try_post("/v1/pick", request.clone()).await.unwrap();
        assert_eq!(status, 200, "{body}");
        let picks = body["picks"].as_array().unwrap().iter();
        leases.extend(picks.map(|pick| pick["lease"].as_str().unwrap().to_owned()));
    }
    leases
}

fn services(endpoints: usize) -> String {
    let address = |n: usize| format!("      - {{address: '10.1.{}.{}:80'}}\n", n / 256, n % 256);
    let endpoints: String = (0..endpoints).map(address).collect();
    format!("services:\n  - name: cart.shop\n    endpoints:\n{endpoints}")
}

/// Reports these leases. Returns how many are unknown.
async fn unknown(http: &mut Http, leases: &[String]) -> usize {
    let report = |lease| json!({ "lease": lease, "outcome": "SUCCESS" });
    let reports: Vec<_> = leases.iter().map(report).collect();
    let request = json!({ "reports": reports }).to_string();
    let (status, _, body) = http.try_post("/v1/report", request).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body["unknown"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_of_a_large_service_are_taken_over_and_no_pick_fails_meanwhile() {
    const LEASES: usize = 60_000;
    let old = Agent::with(&services(10_000));
    let leases = pick_leases(&old, LEASES).await;
    let met = Arc::new(Met::default());
    let caller = tokio::spawn(calls_over_http(old.folder.clone(), met.clone()));
    let new = tokio::task::block_in_place(|| successor(&old));
    tokio::task::block_in_place(|| new.logs("took over"));
    met.stop.store(true, SeqCst);
    caller.await.unwrap();
    assert_eq!(met.unknown.load(SeqCst), 0);
    assert!(!new.has_logged("not taken over"));
    let mut http = new.http().await;
    for part in leases.chunks(10_000) {
        assert_eq!(unknown(&mut http, part).await, 0);
    }
}

#[tokio::test]
async fn a_successor_that_stalls_misses_none_of_a_hundred_thousand_reports() {
    const PARTS: usize = 10;
    let mut old = Agent::with(&services(64));
    let leases = pick_leases(&old, PARTS * 10_000).await;
    let mut lasting = Vec::new();
    for _ in 0..PARTS {
        let mut http = old.http().await;
        http.get("/v1/services").await;
        lasting.push(http);
    }
    let new = successor(&old);
    old.logs("handed over");
    new.signal(Signal::STOP);
    for (http, part) in lasting.iter_mut().zip(leases.chunks(10_000)) {
        assert_eq!(unknown(http, part).await, 0);
    }
    new.signal(Signal::CONT);
    assert_eq!(old.ended().code(), Some(0));
    let left = leases.len() - PARTS * 10_000;
    let open = format!("pointsman_leases_open {left}\n");
    let mut page = String::new();
    for _ in 0..500 {
        page = new.admin_page("/metrics").await.1;
        if page.contains(&open) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {open}: {page}");
}

// The caller's connection must be polled while the test waits: before HTTP/2 closes, it checks that the
// caller is there.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_to_begin_again_with_the_new_agent() {
    let mut old = Agent::with(SHOP);
    let request = WatchServiceRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let mut client = old.grpc().await;
    let mut watched = client.watch_service(request.clone()).await.unwrap().into_inner();
    watched.message().await.unwrap().expect("a snapshot");
    let begun = clock::now();
    let new = successor(&old);
    // The watch must end or report an error. It must not stay silent until the old agent stops
    // lingering.
    while watched.message().await.is_ok_and(|event| event.is_some()) {}
    assert_eq!(old.ended().code(), Some(0));
    assert!(clock::now() - begun < pointsman::agent::takeover::LINGER);
    let mut again = new.grpc().await.watch_service(request).await.unwrap().into_inner();
    again.message().await.unwrap().expect("a snapshot");
}

#[tokio::test]
async fn the_admin_address_goes_over_as_well() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder: Arc<TempDir> = tempfile::tempdir().unwrap().into();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let admin = free.to_string();
    // clap refuses an argument that is given twice, so this needs a command of its own.
    let start = |arguments: &[&str]| {
        let mut command = crate::support::command_at(&folder.path().join("agent.sock"), &admin);
        command.args(arguments);
        let agent = Agent::spawn(folder.clone(), command);
        agent.logs("listening");
        agent
    };
    let mut old = start(&[]);
    old.logs("answered");
    let new = start(&["--takeover"]);
    assert_eq!(old.ended().code(), Some(0));
    let (status, _) = new.admin_page("/readyz").await;
    assert_eq!(status, 200);
    assert_eq!(new.admin(), admin);
}

#[tokio::test]
async fn an_agent_that_crashes_while_the_one_before_lingers_can_be_started_again() {
    for arguments in [&["--takeover"][..], &["--takeover", "--stay"]] {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder: Arc<TempDir> = tempfile::tempdir().unwrap().into();
        fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
        let start = || {
            let socket = folder.path().join("agent.sock");
            let mut command = crate::support::command_at(&socket, &free.to_string());
            command.args(arguments);
            let agent = Agent::spawn(folder.clone(), command);
            agent.logs("listening");
            agent
        };
        let old = start();
        let mut idle = old.http().await;
        idle.pick("cart.shop").await;
        let new = start();
        old.logs("handed over");
        new.kill();
        let again = start();
        again.still_serves().await;
        assert_eq!(again.admin_page("/livez").await.0, 200);
        // The old agent stays while a caller is connected to it.
        assert!(!old.has_logged("ended"));
        idle.pick("cart.shop").await;
    }
}

#[tokio::test]
async fn only_the_agent_that_serves_writes_the_state() {
    let folder: Arc<TempDir> = tempfile::tempdir().unwrap().into();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let state = folder.path().join("state");
    let arguments = ["--state", state.to_str().unwrap(), "--takeover"];
    let mut old = Agent::in_folder(folder.clone(), &arguments);
    old.logs("answered");
    while !state.join("last-known-good").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let new = Agent::in_folder(folder.clone(), &arguments);
    // The new agent writes by itself, so it is stopped while the test checks whether the old one
    // writes.
    new.signal(Signal::STOP);
    fs::remove_dir_all(&state).unwrap();
    old.terminate();
    assert_eq!(old.ended().code(), Some(0));
    assert!(!state.exists(), "the old one wrote");
    new.signal(Signal::CONT);
    new.terminate();
    let mut new = new;
    assert_eq!(new.ended().code(), Some(0));
    assert!(state.join("last-known-good").exists(), "the new one writes");
}

#[tokio::test]
async fn an_agent_that_hangs_is_named_and_goes_on_when_it_wakes() {
    let old = Agent::with(SHOP);
    old.signal(Signal::STOP);
    let begun = clock::now();
    let refused: Ran = command(old.folder.path()).arg("--takeover").output().unwrap().into();
    assert!(clock::now() - begun < Duration::from_secs(10));
    assert_eq!(refused.code, 1, "{refused:?}");
    let right = format!("pid {} did not hand over within 5 s", old.pid());
    assert!(refused.stderr.contains(&right), "{refused:?}");
    assert_eq!(holder(&old.folder), old.pid());
    old.signal(Signal::CONT);
    old.still_serves().await;
    old.logs("did not finish; this agent continues to serve");
    let new = successor(&old);
    new.still_serves().await;
}

#[tokio::test]
async fn an_agent_whose_sources_do_not_answer_takes_nothing() {
    let old = Agent::with(SHOP);
    let mut command = command(old.folder.path());
    command.args(["--takeover", "--source", "file:/nowhere/services.yaml"]);
    let mut new = Agent::spawn(old.folder.clone(), command);
    new.logs("there is no such file");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(holder(&old.folder), old.pid());
    old.still_serves().await;
    new.terminate();
    assert_eq!(new.ended().code(), Some(0));
    assert!(!old.has_logged("handing over"));
}

/// A successor is killed, or stopped for good and then killed, at this time after its start.
async fn interrupted(old: &Agent, after: Duration, stop_first: bool) {
    let mut command = command(old.folder.path());
    command.arg("--takeover");
    let new = Agent::spawn(old.folder.clone(), command);
    tokio::time::sleep(after).await;
    if stop_first {
        new.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    new.kill();
}

#[tokio::test]
async fn whoever_is_killed_at_whatever_point_an_agent_can_start_and_serve() {
    let mut agent = Agent::with(SHOP);
    for round in 0..KILLS {
        // Evenly spread, in an order that mixes early and late.
        let after = SPREAD.mul_f64((round * 17 % KILLS) as f64 / KILLS as f64);
        match round % 4 {
            0 | 1 => interrupted(&agent, after, round % 4 == 1).await,
            2 => {
                agent.terminate();
                tokio::time::sleep(after / 10).await;
                agent.signal(Signal::KILL);
            }
            _ => {
                let mut command = command(agent.folder.path());
                command.arg("--takeover");
                let new = Agent::spawn(agent.folder.clone(), command);
                tokio::time::sleep(after).await;
                agent.signal(Signal::KILL);
                new.logs("listening");
                agent = new;
            }
        }
        let served_on = round % 4 < 2 && !agent.has_logged("handed over");
        if served_on {
            // The old agent may be putting its socket back at this moment.
            served_soon(&agent).await;
        }
        let next = Agent::in_folder(agent.folder.clone(), &["--takeover"]);
        next.logs("answered");
        next.still_serves().await;
        agent = next;
    }
}

async fn served_soon(agent: &Agent) {
    for _ in 0..200 {
        if tokio::net::UnixStream::connect(agent.socket()).await.is_ok() {
            return agent.still_serves().await;
        }
        if agent.has_logged("handed over") {
            // The successor had the socket, and was killed then.
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody serves");
}

/// The results of clients.
#[derive(Default)]
struct Met {
    stop: AtomicBool,
    picks: AtomicU64,
    retried: AtomicU64,
    unknown: AtomicU64,
}

/// Fails the test with the name of a call that nobody answers, for otherwise it would wait for ever.
async fn answered<T>(what: &str, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| panic!("{what}: no answer within {PATIENCE:?}"))
}

/// A caller over HTTP. It keeps a connection, opens a new one when that has ended, and retries once.
async fn calls_over_http(folder: Arc<TempDir>, met: Arc<Met>) {
    let socket = folder.path().join("agent.sock");
    let mut http = None;
    while !met.stop.load(SeqCst) {
        let pick = json!({ "service": "cart.shop" }).to_string();
        let body = call(&socket, &mut http, "/v1/pick", pick, &met).await;
        let lease = body["picks"][0]["lease"].clone();
        assert!(lease.is_string(), "{body}");
        met.picks.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let report = json!({ "reports": [{ "lease": lease, "outcome": "SUCCESS" }] });
        let body = call(&socket, &mut http, "/v1/report", report.to_string(), &met).await;
        if body["accepted"] != 1 {
            met.unknown.fetch_add(1, SeqCst);
        }
    }
}

async fn call(
    socket: &std::path::Path,
    http: &mut Option<Http>,
    path: &str,
    body: String,
    met: &Met,
) -> serde_json::Value {
    for attempt in 0..2 {
        if http.is_none() {
            match answered("connect", Http::connect(socket)).await {
                Ok(new) => *http = Some(new),
                Err(error) => {
                    assert_eq!(attempt, 0, "refused twice: {error}");
                    met.retried.fetch_add(1, SeqCst);
                    continue;
                }
            }
        }
        let Some(connection) = http.as_mut() else { continue };
        match answered(path, connection.try_post(path, body.clone())).await {
            Ok((status, close, answer)) => {
                assert_eq!(status, 200, "{answer}");
                if close {
                    *http = None;
                }
                return answer;
            }
            Err(error) => {
                assert_eq!(attempt, 0, "failed twice: {error}");
                met.retried.fetch_add(1, SeqCst);
                *http = None;
            }
        }
    }
    panic!("no answer to {path}");
}

/// A caller over gRPC with one channel, which reconnects by itself.
async fn calls_over_grpc(folder: Arc<TempDir>, met: Arc<Met>) {
    let mut client = GrpcCaller { socket: folder.path().join("agent.sock"), client: None };
    while !met.stop.load(SeqCst) {
        let pick = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
        let call = |mut agent: AgentClient<Channel>| {
            let pick = pick.clone();
            async move { agent.pick(pick).await }
        };
        let picked = client.sent(&met, call).await;
        let lease = picked.picks[0].lease.clone();
        met.picks.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let outcome = pointsman::api::v1::Outcome::Success.into();
        let report = Report { lease, outcome, ..Default::default() };
        let request = ReportRequest { reports: vec![report] };
        let call = |mut agent: AgentClient<Channel>| {
            let request = request.clone();
            async move { agent.report(request).await }
        };
        let reported = client.sent(&met, call).await;
        if reported.accepted != 1 {
            met.unknown.fetch_add(1, SeqCst);
        }
    }
}

struct GrpcCaller {
    socket: std::path::PathBuf,
    client: Option<AgentClient<Channel>>,
}

impl GrpcCaller {
    /// gRPC's own clients resend requests that were not sent. tonic leaves this to its caller.
    ///
    /// Once in some hundred thousand calls, a channel of tonic that reconnects has no connection and opens none,
    /// so that a call waits for ever. A new channel makes the call anew. An agent that had taken the call would
    /// show it in the end: as a request in flight, or as an unknown lease.
    async fn sent<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(
        &mut self,
        met: &Met,
        call: impl Fn(AgentClient<Channel>) -> F,
    ) -> T {
        let (mut unsent, mut stuck) = (0, 0);
        loop {
            let client = self.client.get_or_insert_with(|| grpc_client(self.socket.clone()));
            match tokio::time::timeout(STUCK, call(client.clone())).await {
                Ok(Ok(answer)) => return answer.into_inner(),
                Ok(Err(status)) => {
                    let never_left = status.code() == tonic::Code::Cancelled
                        && std::error::Error::source(&status).is_some();
                    assert!(never_left || unsent == 0, "failed twice: {status:?}");
                    unsent += 1;
                    assert!(unsent <= UNSENT, "never sent: {status:?}");
                    met.retried.fetch_add(1, SeqCst);
                }
                Err(_) => {
                    stuck += 1;
                    assert!(stuck < 2, "no answer within {STUCK:?}, and again on another channel");
                    self.client = None;
                    met.retried.fetch_add(1, SeqCst);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pick_fails_while_agents_take_over_from_each_other_under_load() {
    let mut agent = Agent::with(SHOP);
    let met = Arc::new(Met::default());
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(tokio::spawn(calls_over_http(agent.folder.clone(), met.clone())));
    }
    for _ in 0..2 {
        callers.push(tokio::spawn(calls_over_grpc(agent.folder.clone(), met.clone())));
    }
    let begun = clock::now();
    let mut ending = Vec::new();
    for _ in 0..TAKEOVERS {
        let next = tokio::task::block_in_place(|| successor(&agent));
        ending.push(std::mem::replace(&mut agent, next));
        assert!(callers.iter().all(|caller| !caller.is_finished()), "a caller failed");
    }
    met.stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    for mut old in ending {
        let status = tokio::task::block_in_place(|| old.ended());
        assert_eq!(status.code(), Some(0));
    }
    let (picks, retried) = (met.picks.load(SeqCst), met.retried.load(SeqCst));
    let unknown = met.unknown.load(SeqCst);
    eprintln!(
        "{TAKEOVERS} take-overs in {:?}: {picks} picks, none failed, {retried} calls retried, \
         {unknown} leases unknown",
        clock::now() - begun
    );
    assert!(picks > TAKEOVERS as u64, "{picks} picks are no load");
    assert_eq!(unknown, 0);
    agent.in_flight_is("cart.shop", 0).await;
}
