//! `pointsman check` against a real agent, and against typical problems.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Agent, POINTSMAN, SHOP, root_is_here};

fn findings(agent: &Agent, arguments: &[&str]) -> (i32, Vec<Value>) {
    let ran = agent.cli(&[&["check", "-o", "json"], arguments].concat());
    let findings = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| {
        panic!("{error}: {ran:?}");
    });
    (ran.code, findings)
}

fn found<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let of = |finding: &&Value| finding["what"] == what;
    findings.iter().find(of).unwrap_or_else(|| panic!("no {what} in {findings:?}"))
}

#[tokio::test]
async fn all_is_well_with_a_fresh_agent() {
    let agent = Agent::with(SHOP);
    let (code, findings) = findings(&agent, &[]);
    assert_eq!(code, 0, "{findings:?}");
    for what in ["socket", "mount", "permission", "version", "clock", "sources"] {
        assert_eq!(found(&findings, what)["verdict"], "good", "{findings:?}");
    }
    let ran = agent.cli(&["check"]);
    assert!(ran.stdout.contains("\tsources\t2 services\n"), "{ran:?}");
}

#[tokio::test]
async fn who_lets_leases_run_out_is_named_everywhere_and_to_others_only_themselves() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    for _ in 0..12 {
        http.post("/v1/pick", r#"{"service": "cart.shop", "leaseTtl": "0.01s"}"#).await;
    }
    http.post("/v1/pick", r#"{"service": "cart.shop", "noReport": true}"#).await;
    agent.in_flight_is("cart.shop", 0).await;
    let me = format!("uid {}", rustix::process::geteuid().as_raw());
    let (_, listed) = http.get("/v1/callers").await;
    let own = json!({ "caller": me, "leasesGiven": 12, "leasesExpired": 12 });
    assert_eq!(listed, json!({ "callers": [own] }));
    let (code, found_all) = findings(&agent, &[]);
    assert_eq!(code, 0, "{found_all:?}");
    let leases = found(&found_all, "leases");
    assert_eq!(leases["verdict"], "doubtful");
    let seen = leases["seen"].as_str().unwrap();
    assert!(seen.contains(&format!("{me} did not report 12 of 12 leases")), "{seen}");
    let (_, metrics) = agent.admin_page("/metrics").await;
    let line = format!("pointsman_caller_leases_expired{{caller=\"{me}\"}} 12");
    assert!(metrics.lines().any(|each| each == line), "{metrics}");
    let (_, page) = agent.admin_page("/").await;
    assert!(page.contains(&format!("<td>{me}<td>12 of 12, 100%")), "{page}");
    if root_is_here("asking as somebody else") {
        agent.open_folder();
        let stranger = agent.cli_as_nobody(&["check"]);
        assert!(stranger.stdout.contains("nearly all are reported"), "{stranger:?}");
    }
}

#[tokio::test]
async fn a_source_that_has_not_answered_is_wrong() {
    let agent = Agent::with_silent_source();
    let (code, findings) = findings(&agent, &[]);
    assert_eq!(code, 1, "{findings:?}");
    let sources = found(&findings, "sources");
    assert_eq!(sources["verdict"], "wrong");
    assert!(sources["seen"].as_str().unwrap().contains("no answer so far from file:"), "{sources}");
    assert!(sources["right"].as_str().unwrap().contains("/readyz"), "{sources}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_code_5_and_the_kernel_is_looked_at_all_the_same() {
    let agent = Agent::with(SHOP);
    let (code, findings) = findings(&agent, &["--socket", "/nowhere/agent.sock"]);
    assert_eq!(code, 5, "{findings:?}");
    let socket = found(&findings, "socket");
    assert!(socket["right"].as_str().unwrap().contains("start the agent on this node"), "{socket}");
    assert_eq!(found(&findings, "shared memory")["verdict"], "good");
}

#[tokio::test]
async fn a_relative_path_is_on_the_mount_of_its_folder() {
    // This folder is a file system of its own in any container and on any systemd machine.
    let agent = Agent::in_folder(tempfile::tempdir_in("/dev/shm").unwrap(), &[]);
    let absolute = findings(&agent, &[]).1;
    assert_eq!(found(&absolute, "mount")["seen"], "its folder is on the mount /dev/shm");
    let ran = Command::new(POINTSMAN)
        .args(["check", "-o", "json", "--socket", "agent.sock"])
        .current_dir(agent.folder.path())
        .output()
        .unwrap();
    let relative: Vec<Value> = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(found(&relative, "mount"), found(&absolute, "mount"));
}

#[tokio::test]
async fn who_may_not_connect_hears_why() {
    if !root_is_here("asking as who may not connect") {
        return;
    }
    let agent = Agent::with_arguments(SHOP, &["--socket-mode", "0600"]);
    let ran = agent.cli_as_nobody(&["check"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stdout.contains("uid 65534 may not connect"), "{ran:?}");
    assert!(ran.stdout.contains("--socket-mode 0666"), "{ran:?}");
}
