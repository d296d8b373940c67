//! An agent's start, rest and end.

use std::{collections::BTreeMap, fs, os::unix::net::UnixStream, time::Duration};

use crate::support::{Agent, Ran, SHOP, command, command_at};
use pointsman::{clock, serve::connection::accept::GRACE};
use serde_json::json;

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_end() {
    let mut agent = Agent::with_silent_source();
    let mut http = agent.http().await;
    let call = tokio::spawn(async move {
        let pick = json!({ "service": "cart.shop", "wait": "1.5s" });
        http.post("/v1/pick", pick.to_string()).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.terminate();
    agent.logs("ending");
    while UnixStream::connect(agent.socket()).is_ok() {
        assert!(!call.is_finished(), "new callers are refused before the end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (status, _) = call.await.unwrap();
    assert_eq!(status, 504);
    assert_eq!(agent.ended().code(), Some(0));
}

// The callers' connections must be polled while the test waits: before HTTP/2 closes, it checks that
// the caller is there.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_hold_no_end_up() {
    let mut agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let _client = agent.grpc().await;
    let _silent = tokio::net::UnixStream::connect(agent.socket()).await.unwrap();
    http.pick("cart.shop").await;
    let begun = clock::now();
    agent.terminate();
    assert_eq!(agent.ended().code(), Some(0));
    // A caller delays the end only for the time that a request may take.
    let took = clock::now() - begun;
    assert!(took < GRACE, "{took:?}");
    assert!(!agent.has_logged("did not finish in time"));
    assert!(agent.socket().exists(), "by now it may be the successor's");
}

#[tokio::test]
async fn an_idle_agent_wakes_at_most_four_times_a_second() {
    // The agent also watches the folder above a services file, and other tests write to /tmp.
    let above = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir_in(above.path()).unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let agent = Agent::in_folder(folder, &[]);
    agent.logs("answered");
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    http.report(&lease, "SUCCESS").await;
    let asleep = |metrics: String| {
        metrics.lines().any(|line| line == "pointsman_publishing_period_seconds 0.0")
    };
    while !asleep(agent.admin_page("/metrics").await.1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = wakeups(agent.pid());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = wakeups(agent.pid());
    let woken: BTreeMap<_, u64> =
        after.into_iter().map(|(id, count)| (id.clone(), count - before[&id])).collect();
    assert!(woken.values().sum::<u64>() <= 16, "in 4 s: {woken:?}");
}

/// How often each thread of a process went to sleep voluntarily.
fn wakeups(pid: u32) -> BTreeMap<String, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let count = field("voluntary_ctxt").parse().unwrap();
        (format!("{} {}", field("Name"), field("Pid")), count)
    };
    threads.map(|thread| of(thread.unwrap())).collect()
}

#[tokio::test]
async fn a_taken_admin_address_is_named() {
    let agent = Agent::with(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let ran: Ran = command_at(&socket, &agent.admin()).output().unwrap().into();
    assert_eq!(ran.code, 1);
    let right = format!("admin address {}", agent.admin());
    assert!(ran.stderr.contains(&right) && ran.stderr.contains("--admin"), "{ran:?}");
}

#[test]
fn an_agent_without_a_source_says_how_to_name_one() {
    let ran: Ran =
        std::process::Command::new(crate::support::POINTSMAN).arg("agent").output().unwrap().into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--source file:services.yaml"), "{ran:?}");
}

#[tokio::test]
async fn what_the_command_line_says_wins_over_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let config = folder.path().join("agent.yaml");
    let text = "zone: b\nsocket: /nowhere/agent.sock\npolicies: {default: {choices: 3}}\n";
    fs::write(&config, text).unwrap();
    let agent = Agent::in_folder(folder, &["--config", config.to_str().unwrap(), "--zone", "a"]);
    agent.logs("answered");
    let (_, body) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert_eq!(body["groups"][0]["name"], "zone a", "{body}");
    let settings = body["policy"].as_array().unwrap();
    let choices = settings.iter().find(|setting| setting["name"] == "choices").unwrap();
    assert_eq!(choices["value"], "3");
    assert!(choices["origin"].as_str().unwrap().contains("agent.yaml"), "{choices}");
}

#[test]
fn a_configuration_with_a_mistake_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.yaml");
    fs::write(&config, "zone: a\nsokcet: /tmp/x\n").unwrap();
    let ran: Ran = command(folder.path()).arg("--config").arg(&config).output().unwrap().into();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("agent.yaml:2:") && ran.stderr.contains("socket"), "{ran:?}");
}

#[test]
fn logs_are_json_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let agent = Agent::in_folder(folder, &["--log-format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&agent.logs("listening")).unwrap();
    assert_eq!(line["message"], "listening");
}
