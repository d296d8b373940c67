//! Agents whose source is a control plane: both are real processes.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use support::{Agent as Process, POINTSMAN, root_is_here};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn write(folder: &Path, services: &str) {
    let path = folder.join("services.yaml");
    let new = path.with_extension("new");
    fs::write(&new, services).unwrap();
    fs::rename(new, path).unwrap();
}

fn cart(address: &str) -> String {
    format!(
        "services: [{{name: cart.shop, ports: [{{name: grpc, port: 8080}}], policy: {{mode: shadow}}, \
         endpoints: [{{address: {address}}}]}}, {{name: users.shop, endpoints: [{{address: '10.1.9.9:80'}}]}}]"
    )
}

fn plane_in(folder: impl Into<Arc<TempDir>>) -> Process {
    let folder = folder.into();
    let mut command = Command::new(POINTSMAN);
    command.args(["control-plane", "--admin", "127.0.0.1:0"]);
    command.arg(format!("--source=file:{}", folder.path().join("services.yaml").display()));
    command.arg(format!("--listen=unix://{}", folder.path().join("xds.sock").display()));
    let plane = Process::spawn(folder, command);
    plane.logs("listening");
    plane
}

fn plane(services: &str) -> Process {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), services);
    plane_in(folder)
}

fn agent_in(folder: impl Into<Arc<TempDir>>, plane: &Path, arguments: &[&str]) -> Process {
    let folder = folder.into();
    let mut command = Command::new(POINTSMAN);
    command.args(["agent", "--admin", "127.0.0.1:0"]).stdin(Stdio::null());
    command.arg(format!("--socket={}", folder.path().join("agent.sock").display()));
    command.arg(format!("--source=xds:unix://{}", plane.join("xds.sock").display()));
    command.args(arguments);
    let agent = Process::spawn(folder, command);
    agent.logs("listening");
    agent
}

fn agent_of(plane: &Process) -> Process {
    agent_in(tempfile::tempdir().unwrap(), plane.folder.path(), &[])
}

/// Picks until this address comes.
async fn picks(agent: &Process, service: &str, address: &str) {
    let mut http = agent.http().await;
    let begin = Instant::now();
    loop {
        let (picked, lease) = http.pick(service).await;
        http.report(&lease, "SUCCESS").await;
        if picked == address {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{picked}, not {address}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_file_that_is_edited_reaches_a_pick_by_way_of_a_control_plane() {
    let plane = plane(&cart("10.1.2.3"));
    let agent = agent_of(&plane);
    for name in ["cart.shop", "cart.shop:8080", "cart.shop:grpc"] {
        picks(&agent, name, "10.1.2.3:8080").await;
    }
    write(plane.folder.path(), &cart("10.1.2.4"));
    picks(&agent, "cart.shop", "10.1.2.4:8080").await;
    assert_eq!(agent.setting("mode").await, "shadow", "settings come along");
    let settings = agent.cli(&["explain", "cart.shop"]).stdout;
    assert!(settings.contains("services.yaml:1"), "where a setting was written: {settings}");
}

#[tokio::test]
async fn names_are_answered_on_the_node() {
    let plane = plane(&cart("10.1.2.3"));
    let agent = agent_of(&plane);
    let mut http = agent.http().await;
    picks(&agent, "cart.shop", "10.1.2.3:8080").await;
    for n in 0..200 {
        let body = format!(r#"{{"service": "cart{n}.shop"}}"#);
        let (status, _) = http.post("/v1/pick", body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    agent.finds_a_suggestion_for("cat.shop").await;
    let (_, metrics) = plane.admin_page("/metrics").await;
    assert!(
        metrics.contains("pointsman_control_plane_streams{client=\"agent\",variant=\"delta\"} 1")
    );
    assert!(
        metrics.contains("pointsman_control_plane_responses_total{type=\"assignment\"} 1"),
        "of cart.shop alone: {metrics}"
    );
    let listed = agent.cli(&["services"]);
    assert!(listed.stdout.contains("users.shop"), "{}", listed.stdout);
    let wrong_port = http.post("/v1/pick", r#"{"service": "cart.shop:9999"}"#).await;
    assert_eq!(wrong_port.0, StatusCode::NOT_FOUND);
    assert!(wrong_port.1.to_string().contains("grpc (8080)"), "{}", wrong_port.1);
}

#[tokio::test]
async fn picks_go_on_without_the_control_plane_and_changes_come_when_it_is_back() {
    let plane = plane(&cart("10.1.2.3"));
    let agent = agent_of(&plane);
    picks(&agent, "cart.shop", "10.1.2.3:8080").await;
    let folder = plane.kill();
    agent.logs("can't be reached");
    let mut http = agent.http().await;
    for _ in 0..200 {
        let (picked, lease) = http.pick("cart.shop").await;
        assert_eq!(picked, "10.1.2.3:8080");
        http.report(&lease, "SUCCESS").await;
    }
    // A service that nobody asked for before: its endpoints are not known.
    let begin = Instant::now();
    let (status, error) =
        http.post("/v1/pick", r#"{"service": "users.shop", "wait": "0.2s"}"#).await;
    assert_ne!(status, StatusCode::OK, "{error}");
    assert!(begin.elapsed() < PATIENCE);
    agent.metrics_say("pointsman_source_problems 1").await;
    let (ready, _) = agent.admin_page("/readyz").await;
    assert_eq!(ready, StatusCode::OK, "what it has is good");
    write(folder.path(), &cart("10.1.2.5"));
    let _plane = plane_in(folder);
    picks(&agent, "cart.shop", "10.1.2.5:8080").await;
    picks(&agent, "users.shop", "10.1.9.9:80").await;
    agent.metrics_say("pointsman_source_problems 0").await;
}

#[tokio::test]
async fn an_agent_that_starts_without_a_control_plane_serves_its_last_good_state() {
    let plane = plane(&cart("10.1.2.3"));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let state = folder.path().join("state");
    let arguments = ["--state", state.to_str().unwrap()];
    let mut agent = agent_in(folder.clone(), plane.folder.path(), &arguments);
    picks(&agent, "cart.shop", "10.1.2.3:8080").await;
    agent.terminate();
    assert!(agent.ended().success());
    let of_plane = plane.kill();
    let agent = agent_in(folder, of_plane.path(), &arguments);
    picks(&agent, "cart.shop", "10.1.2.3:8080").await;
    write(of_plane.path(), &cart("10.1.2.6"));
    let _plane = plane_in(of_plane);
    picks(&agent, "cart.shop", "10.1.2.6:8080").await;
}

#[tokio::test]
async fn an_agent_without_an_answer_says_why() {
    let nowhere = tempfile::tempdir().unwrap();
    let agent = agent_in(tempfile::tempdir().unwrap(), nowhere.path(), &[]);
    agent.logs("can't be reached: No such file or directory");
    let (status, said) = agent.admin_page("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("xds.sock can't be reached"), "{said}");
    let (status, error) =
        agent.http().await.post("/v1/pick", r#"{"service": "cart.shop", "wait": "0.1s"}"#).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{error}");
    assert!(error.to_string().contains("can't be reached"), "{error}");
    let checked = agent.cli(&["check"]);
    assert_ne!(checked.code, 0);
    assert!(checked.stdout.contains("can't be reached"), "{}", checked.stdout);
}

/// A caller asks for more ports than a control plane lets one stream subscribe to.
#[tokio::test]
async fn who_asks_for_services_with_many_ports_takes_no_control_plane_from_another() {
    if !root_is_here("asking as another user") {
        return;
    }
    let services = |victim: &str| {
        let ports: Vec<String> = (1..=32).map(|n| format!("{{name: p{n}, port: {n}}}")).collect();
        let greedy = (0..700).map(|n| {
            let ports = ports.join(", ");
            format!("{{name: s{n}.shop, ports: [{ports}], endpoints: [{{address: 10.1.0.1}}]}}")
        });
        let victim = format!("{{name: victim.pay, endpoints: [{{address: '{victim}'}}]}}");
        let all: Vec<String> = greedy.chain([victim]).collect();
        format!("services: [{}]", all.join(", "))
    };
    let plane = plane(&services("10.9.9.1:80"));
    let agent = agent_of(&plane);
    agent.open_folder();
    // The names are known, so that each request below is followed or refused at once.
    let victim = || agent.cli_as_nobody(&["pick", "victim.pay"]).stdout;
    let begin = Instant::now();
    while !victim().contains("10.9.9.1:80") {
        assert!(begin.elapsed() < PATIENCE, "{}", victim());
    }
    let mut http = agent.http().await;
    let (mut served, mut refused) = (0, String::new());
    for n in 0..700 {
        let body = format!(r#"{{"service": "s{n}.shop:1", "wait": "0.05s"}}"#);
        match http.post("/v1/pick", body).await {
            (StatusCode::OK, _) => served += 1,
            (_, error) => refused = error.to_string(),
        }
    }
    assert!((300..=375).contains(&served), "1,500 are for one caller, at 4 each: {served}");
    assert!(refused.contains("followed services are held by this caller"), "{refused}");
    assert!(victim().contains("10.9.9.1:80"), "{}", victim());
    write(plane.folder.path(), &services("10.9.9.2:80"));
    let begin = Instant::now();
    while !victim().contains("10.9.9.2:80") {
        assert!(begin.elapsed() < PATIENCE, "{}", victim());
    }
    let (_, metrics) = plane.admin_page("/metrics").await;
    let stream = "pointsman_control_plane_streams{client=\"agent\",variant=\"delta\"} 1";
    assert!(metrics.contains(stream), "{metrics}");
}
