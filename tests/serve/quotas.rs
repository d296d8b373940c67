//! What one caller may take, and that the others are served all the same.
//!
//! Another identity takes root; without it these tests say what they can about one alone.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::json;

use crate::support::{Agent, SHOP};

/// What a thread does as somebody else, where it may become somebody else.
fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let as_nobody = || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        what()
    };
    std::thread::scope(|scope| scope.spawn(as_nobody).join().unwrap())
}

fn open_more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
}

/// Opens so many connections; those that the agent did not hang up on.
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
    if rustix::process::geteuid().is_root() {
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
    // Half of the files are for connections, and three quarters of those for one caller.
    let flood = connect(&socket, 300);
    assert_eq!(flood.len(), 150);
    agent.logs("hung up on a caller: 150 connections are held by this caller");
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("pointsman_connections_refused_total 150\n"), "{metrics}");
    if rustix::process::geteuid().is_root() {
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
    if rustix::process::geteuid().is_root() {
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

#[tokio::test]
async fn a_caller_may_know_of_its_own_namespaces_only() {
    let own = rustix::process::geteuid().as_raw();
    let folder = tempfile::tempdir().unwrap();
    let services =
        format!("{SHOP}  - name: ledger.bank\n    endpoints: [{{address: '10.3.0.1:80'}}]\n");
    std::fs::write(folder.path().join("services.yaml"), services).unwrap();
    let config = folder.path().join("agent.yaml");
    std::fs::write(&config, format!("access:\n  - {{uids: {own}, namespaces: [shop]}}\n")).unwrap();
    let agent = Agent::in_folder(folder, &["--config", config.to_str().unwrap()]);
    agent.logs("answered");
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

#[tokio::test]
async fn someone_who_asks_for_what_is_not_there_takes_no_one_s_time() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    for n in 0..5_000 {
        let request = json!({ "service": format!("s{n}.nowhere") }).to_string();
        let (status, _) = http.post("/v1/pick", request).await;
        assert_eq!(status, 404);
    }
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(!metrics.contains("nowhere"), "a name that is none makes no time series");
    let (status, body) = agent.http().await.post("/v1/pick", r#"{"service": "crat.shop"}"#).await;
    assert_eq!(status, 404, "{body}");
    agent.still_serves().await;
}
