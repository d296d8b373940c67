//! Wrong settings: what applies in their place, and where a person sees them. Also a wrong
//! configuration.

use std::{fs, path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Agent, SHOP, command};

const VIRTUAL: &str = "10.96.0.7:80";

/// `cart.shop` with a virtual IP, and with this text as its `mode`.
fn services(mode: &str) -> String {
    let mode = if mode.is_empty() { String::new() } else { format!("mode: '{mode}', ") };
    format!(
        "services:\n  - name: cart.shop\n    ports: [{{name: http, port: 80}}]\n    \
         policy: {{{mode}virtual_ip: 10.96.0.7}}\n    endpoints: [{{address: 10.1.0.1}}]\n"
    )
}

/// Replaces the services, and waits until the agent has read them.
pub(crate) async fn write(agent: &Agent, text: &str) {
    let before = version(agent).await;
    fs::write(agent.folder.path().join("services.yaml"), text).unwrap();
    while version(agent).await == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn version(agent: &Agent) -> Value {
    agent.http().await.get("/v1/services/cart.shop").await.1["service"]["version"].clone()
}

async fn picked(agent: &Agent) -> String {
    let (address, lease) = agent.http().await.pick("cart.shop").await;
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
    address
}

#[tokio::test]
async fn a_wrong_mode_of_a_service_that_is_new_sends_no_traffic_anywhere_new() {
    for wrong in ["OFFF", "5percent", "0.5%", "150%", "5", "disabled"] {
        let agent = Agent::with(&services(wrong));
        assert_eq!(picked(&agent).await, VIRTUAL, "{wrong}");
    }
    let agent = Agent::with(&services("OFF"));
    assert_eq!(picked(&agent).await, VIRTUAL);
    assert_eq!(agent.cli(&["check"]).code, 0, "that is understood");
}

#[tokio::test]
async fn a_wrong_mode_leaves_the_one_before_and_is_told_everywhere() {
    let agent = Agent::with(&services("on"));
    assert_ne!(picked(&agent).await, VIRTUAL);
    assert_eq!(agent.cli(&["check"]).code, 0);
    write(&agent, &services("offf")).await;
    assert_ne!(picked(&agent).await, VIRTUAL);

    let problem = "mode is \"offf\": it must be off, shadow, a whole percentage of 0% to 100%, or on; \
                   it is on, as before";
    agent.logs("wrong setting");
    let (_, explained) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert!(explained["notes"][0].as_str().unwrap().ends_with(problem), "{explained}");
    let listed = agent.cli(&["services"]);
    assert!(listed.stdout.contains("a wrong setting"), "{listed:?}");
    assert!(listed.stdout.contains(problem), "{listed:?}");
    let check = agent.cli(&["check"]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.stdout.contains("wrong\tsettings\tcart.shop: services file "), "{check:?}");
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("pointsman_wrong_settings{service=\"cart.shop\"} 1"), "{metrics}");
    let (_, page) = agent.admin_page("/").await;
    assert!(page.contains("<td>cart.shop<td>services file "), "{page}");

    write(&agent, &services("off")).await;
    // The catalog has it before the table has it.
    while picked(&agent).await != VIRTUAL {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    agent.logs("all its settings are valid now");
    assert_eq!(agent.cli(&["check"]).code, 0);
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(!metrics.contains("pointsman_wrong_settings{"), "{metrics}");
}

#[tokio::test]
async fn what_held_before_a_wrong_mode_outlives_the_agent() {
    let mut agent = with_state(&services("on"));
    write(&agent, &services("offf")).await;
    assert_ne!(picked(&agent).await, VIRTUAL);
    agent.terminate();
    assert!(agent.ended().success());
    let again = start(agent.folder.clone());
    again.logs("answered");
    assert_ne!(picked(&again).await, VIRTUAL);
}

/// Starts with these services.
pub(crate) fn folder(services: &str) -> Arc<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), services).unwrap();
    folder.into()
}

fn with_state(services: &str) -> Agent {
    let agent = start(folder(services));
    agent.logs("answered");
    agent
}

fn start(folder: Arc<TempDir>) -> Agent {
    let state = folder.path().join("state");
    Agent::in_folder(folder, &["--state", state.to_str().unwrap()])
}

pub(crate) fn configured(folder: &Arc<TempDir>) -> Agent {
    let (state, config) = (folder.path().join("state"), folder.path().join("agent.yaml"));
    let arguments = ["--state", state.to_str().unwrap(), "--config", config.to_str().unwrap()];
    Agent::in_folder(folder.clone(), &arguments)
}

pub(crate) fn configure(folder: &Path, text: &str) {
    fs::write(folder.join("agent.yaml"), text).unwrap();
}

const GOOD: &str = "policies: {services: {cart.shop: {choices: 3}}}\n";
/// The namespace is missing.
const WRONG: &str = "policies: {services: {cart: {choices: 3}}}\n";

#[tokio::test]
async fn an_agent_that_is_started_beside_a_wrong_configuration_serves_by_the_last_good_one() {
    let folder = folder(SHOP);
    configure(folder.path(), GOOD);
    let agent = configured(&folder);
    assert_eq!(agent.setting("choices").await, "3");
    let metric = |value| format!("pointsman_configuration_wrong {value}\n");
    assert!(agent.admin_page("/metrics").await.1.contains(&metric(0)));
    drop(agent.kill());

    configure(folder.path(), WRONG);
    let agent = configured(&folder);
    let line = agent.logs("the last good one is in force");
    assert!(line.contains("policies.services") && line.contains("ERROR"), "{line}");
    assert_eq!(agent.setting("choices").await, "3");
    assert!(agent.admin_page("/metrics").await.1.contains(&metric(1)));
    let (_, page) = agent.admin_page("/").await;
    assert!(page.contains("an earlier configuration is in force"), "{page}");

    // An agent with a wrong configuration does not take over: the running agent serves at least as
    // well.
    let config = folder.path().join("agent.yaml");
    let mut next = command(folder.path());
    let state = folder.path().join("state");
    next.arg("--config").arg(&config).arg("--state").arg(state).arg("--takeover");
    let refused = next.output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("so the running agent") && told.contains("policies.services"), "{told}");
    assert_eq!(agent.setting("choices").await, "3");

    configure(folder.path(), &GOOD.replace('3', "4"));
    agent.signal(rustix::process::Signal::HUP);
    agent.logs("read the configuration again");
    assert_eq!(agent.setting("choices").await, "4");
    assert!(agent.admin_page("/metrics").await.1.contains(&metric(0)));
}

/// A configuration that is valid, but cannot be used on this node.
#[tokio::test]
async fn a_configuration_that_can_not_be_applied_is_wrong_like_any_other() {
    let folder = folder(SHOP);
    configure(folder.path(), GOOD);
    assert_eq!(configured(&folder).setting("choices").await, "3");
    configure(folder.path(), "socket_group: a-group-that-is-not-there\n");
    let agent = configured(&folder);
    let line = agent.logs("the last good one is in force");
    assert!(line.contains("a-group-that-is-not-there"), "{line}");
    assert_eq!(agent.setting("choices").await, "3");
    drop(agent.kill());
    // The last good configuration does not replace the command line: a mistake there is an error.
    let mut agent = command(folder.path());
    let (config, state) = (folder.path().join("agent.yaml"), folder.path().join("state"));
    agent.arg("--config").arg(config).arg("--state").arg(state);
    let refused = agent.args(["--socket-group", "nor-this-one"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("nor-this-one"), "{told}");
}

#[tokio::test]
async fn a_configuration_that_turns_wrong_while_the_agent_runs_is_told() {
    let folder = folder(SHOP);
    configure(folder.path(), GOOD);
    let agent = configured(&folder);
    configure(folder.path(), WRONG);
    agent.signal(rustix::process::Signal::HUP);
    agent.logs("the configuration stays as it was");
    assert_eq!(agent.setting("choices").await, "3");
    assert!(agent.admin_page("/metrics").await.1.contains("pointsman_configuration_wrong 1\n"));
    let check = agent.cli(&["check"]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.stdout.contains("wrong\tconfiguration"), "{check:?}");
    // The configuration for the next start is still the good one.
    drop(agent.kill());
    assert_eq!(configured(&folder).setting("choices").await, "3");
}

#[tokio::test]
async fn without_a_last_good_configuration_a_wrong_one_is_refused() {
    let folder = folder(SHOP);
    configure(folder.path(), WRONG);
    let mut agent = command(folder.path());
    let (config, state) = (folder.path().join("agent.yaml"), folder.path().join("state"));
    let refused = agent.arg("--config").arg(config).arg("--state").arg(state).output().unwrap();
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("names are name.namespace"), "{told}");
}
