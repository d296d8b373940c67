//! The command line against a real agent.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use serde_json::Value;

use crate::support::{Agent, POINTSMAN, Ran, SHOP};

#[tokio::test]
async fn pick_prints_an_address_alone() {
    let agent =
        Agent::with("services: [{name: cart.shop, endpoints: [{address: '10.1.2.3:8080'}]}]");
    let ran = agent.cli(&["pick", "cart.shop"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "10.1.2.3:8080\n", ""));
}

#[tokio::test]
async fn each_failure_has_its_exit_code() {
    let unready = SHOP.replace("labels", "health: unready, labels");
    let agent = Agent::with(&unready);
    agent.finds_a_suggestion_for("crat.shop").await;
    let wrong = agent.cli(&["pick", "crat.shop"]);
    assert_eq!(wrong.code, 3);
    assert_eq!(wrong.stderr, "no service \"crat.shop\"; did you mean \"cart.shop\"?\n");
    assert_eq!(wrong.stdout, "");
    assert_eq!(agent.cli(&["endpoints", "crat.shop"]).code, 3);
    assert_eq!(agent.cli(&["explain", "pay.shop:grcp"]).code, 3);
    assert_eq!(agent.cli(&["pick", "cart.shop"]).code, 4);
    assert_eq!(agent.cli(&["pick"]).code, 2);
    assert_eq!(agent.cli(&["pick", ""]).code, 2);
    assert_eq!(agent.cli(&["pick", "cart"]).code, 2);
    assert_eq!(agent.cli(&["pick", "cart.shop", "--count", "-1"]).code, 2);
    assert_eq!(agent.cli(&["pick", "cart.shop", "--count", "1000"]).code, 2);
    assert_eq!(agent.cli(&["report", "nonsense", "--outcome", "success"]).code, 1);
    assert_eq!(agent.cli(&["report", "nonsense"]).code, 2);
    let silent = Agent::with_silent_source();
    let waiting = silent.cli(&["pick", "cart.shop", "--wait", "50ms"]);
    assert_eq!(waiting.code, 6);
    assert!(waiting.stderr.contains("waited 50ms"), "{waiting:?}");
    assert_eq!(silent.cli(&["services"]).code, 6);
}

#[test]
fn arguments_that_can_not_be_right_are_wrong_usage() {
    let usage = |arguments: &[&OsStr], right: &str| {
        let mut command = Command::new(POINTSMAN);
        let ran: Ran = command.args(arguments).env("NO_COLOR", "1").output().unwrap().into();
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(right), "{ran:?}");
    };
    let pick = OsStr::new("pick");
    usage(&[pick, OsStr::from_bytes(b"ca\xffrt.shop")], "UTF-8");
    let with =
        |option, value| [pick, OsStr::new("cart.shop"), OsStr::new(option), OsStr::new(value)];
    usage(&with("--wait", "soon"), "write 30ms, 1.5s, 2m or 1h");
    usage(&with("--wait", "-1s"), "write 30ms");
    usage(&with("--selector", "shard"), "write LABEL=VALUE");
    usage(&with("--socket", "http://x"), "unix:///run/pointsman/agent.sock");
    usage(&with("--cost", "-1"), "--cost");
    let untaint = |key, more: &[&'static str]| -> Vec<&OsStr> {
        [&["agent", "--remove-taint", key], more].concat().into_iter().map(OsStr::new).collect()
    };
    usage(&untaint("a.dev/b:NoSchedule", &[]), "write a.dev/b");
    usage(&untaint("a.dev/b", &["--source", "file:x", "--node", "n"]), "add --source kubernetes");
    usage(
        &untaint("a.dev/b", &["--source", "kubernetes"]),
        "needs the name of the node: add --node",
    );
}

#[test]
fn a_socket_variable_that_can_not_be_right_is_named() {
    let ran: Ran = Command::new(POINTSMAN)
        .args(["agent", "--source", "file:services.yaml"])
        .env("POINTSMAN_SOCKET", "tcp://127.0.0.1:80")
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("$POINTSMAN_SOCKET: scheme \"tcp\""), "{ran:?}");
}

#[tokio::test]
async fn an_agent_out_of_reach_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |socket: &std::path::Path| -> Ran {
        Command::new(POINTSMAN).args(["services", "--socket"]).arg(socket).output().unwrap().into()
    };
    let missing = ask(&folder.path().join("agent.sock"));
    assert_eq!(missing.code, 5);
    assert!(missing.stderr.contains("no such socket"), "{missing:?}");
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    let dead = ask(&folder.path().join("dead.sock"));
    assert_eq!(dead.code, 5);
    assert!(dead.stderr.contains("nobody listens"), "{dead:?}");
}

#[tokio::test]
async fn a_lease_lives_from_pick_to_report() {
    let agent = Agent::with(SHOP);
    let picked = agent.cli(&["pick", "cart.shop", "-o", "json", "--lease-ttl", "30s"]);
    let response: Value = serde_json::from_str(&picked.stdout).unwrap();
    let lease = response["picks"][0]["lease"].as_str().unwrap();
    agent.in_flight_is("cart.shop", 1).await;
    let renewed = agent.cli(&["report", lease, "--event", "renewed", "--lease-ttl", "10m"]);
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let ended = agent.cli(&["report", lease, "--outcome", "success", "--latency", "30ms"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn options_of_a_pick_reach_the_agent() {
    let agent = Agent::with(SHOP);
    let one =
        agent.cli(&["pick", "cart.shop", "--selector", "shard=1", "--exclude", "10.1.2.3:8080"]);
    assert_eq!(one.stdout, "10.1.2.5:8080\n", "{one:?}");
    let two = agent.cli(&["pick", "cart.shop", "--count", "2", "--cost", "3", "--key", "k"]);
    assert_eq!(two.stdout.lines().count(), 2, "{two:?}");
    let none = agent.cli(&["pick", "cart.shop", "--selector", "shard=9"]);
    assert_eq!(none.code, 4, "{none:?}");
}

#[tokio::test]
async fn a_pipe_gets_tabs_and_no_colour() {
    let agent = Agent::with(SHOP);
    let services = agent.cli(&["services"]);
    assert!(services.stdout.starts_with("SERVICE\tPORT\tREADY\t"), "{services:?}");
    assert_eq!(services.stdout.lines().count(), 4, "{services:?}");
    let endpoints = agent.cli(&["endpoints", "cart.shop"]);
    assert!(endpoints.stdout.contains("10.1.2.3:8080\ta\t"), "{endpoints:?}");
    let explained = agent.cli(&["explain", "cart.shop"]);
    assert_eq!(explained.code, 0, "{explained:?}");
    for part in ["GROUPS", "ENDPOINTS", "LAST PICKS", "POLICY", "10.1.2.4:8080", "least_request"] {
        assert!(explained.stdout.contains(part), "{part}: {explained:?}");
    }
    for ran in [services, endpoints, explained] {
        assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    }
    let forced = agent.cli(&["services", "--color", "always"]);
    assert!(forced.stdout.contains('\u{1b}'), "{forced:?}");
}

#[tokio::test]
async fn json_is_what_the_agent_said() {
    let agent = Agent::with(SHOP);
    let services: Value =
        serde_json::from_str(&agent.cli(&["services", "-o", "json"]).stdout).unwrap();
    assert_eq!(services["services"].as_array().unwrap().len(), 2);
    let explained: Value =
        serde_json::from_str(&agent.cli(&["explain", "cart.shop", "-o", "json"]).stdout).unwrap();
    assert_eq!(explained["plan"], "1");
    let service: Value =
        serde_json::from_str(&agent.cli(&["endpoints", "pay.shop", "-o", "json"]).stdout).unwrap();
    assert_eq!(service["endpoints"].as_array().unwrap().len(), 4);
}

#[test]
fn the_schema_of_a_services_file_is_printed() {
    let ran: Ran =
        Command::new(POINTSMAN).args(["agent", "--print-schema"]).output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(schema["properties"]["services"].is_object(), "{schema}");
}

#[test]
fn help_says_the_exit_codes() {
    let ran: Ran = Command::new(POINTSMAN).arg("--help").output().unwrap().into();
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("5  the agent is not reachable"), "{ran:?}");
}
