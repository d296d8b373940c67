//! The state between two agents: services last known good, ejected endpoints. Also an invalid state.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use pointsman::{
    catalog::{Endpoint, Labels, LastGood, Port, Service, SourceId},
    clock,
    state::file,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Agent, SHOP, eject, state_of};

/// Starts an agent with `state` in its folder, and waits for its services.
fn with_state(services: &str) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), services).unwrap();
    let agent = again(folder);
    agent.logs("answered");
    agent
}

fn again(folder: impl Into<Arc<TempDir>>) -> Agent {
    let folder = folder.into();
    let state = state_folder(folder.path());
    Agent::in_folder(folder, &["--state", state.to_str().unwrap()])
}

fn state_folder(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// Waits until the state has this.
async fn written(folder: &Path, right: impl Fn(&pointsman::state::record::State) -> bool) {
    for _ in 0..1000 {
        if file::read(&state_folder(folder)).is_ok_and(|state| state.is_some_and(|it| right(&it))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", file::read(&state_folder(folder)));
}

/// The folder of an agent that knew its services and was killed. The services file is gone.
async fn left_behind() -> Arc<TempDir> {
    let agent = with_state(SHOP);
    written(agent.folder.path(), |state| state.services.len() == 2).await;
    let folder = agent.kill();
    fs::remove_file(folder.path().join("services.yaml")).unwrap();
    folder
}

async fn pick(agent: &Agent, service: &str) -> (u16, serde_json::Value) {
    let request = json!({ "service": service, "wait": "0s" }).to_string();
    let (status, body) = agent.http().await.post("/v1/pick", request).await;
    (status.as_u16(), body)
}

/// The group that picks try first, in the agent's explanation.
async fn first_group(agent: &Agent, service: &str) -> serde_json::Value {
    let path = format!("/v1/services/{service}/explain");
    agent.http().await.get(&path).await.1["groups"][0]["name"].clone()
}

#[tokio::test]
async fn an_agent_that_can_ask_nobody_where_its_node_is_knows_it_from_the_last_one() {
    let folder: Arc<TempDir> = tempfile::tempdir().unwrap().into();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let state = state_folder(folder.path());
    let start = |node: &str, told: &[&str]| {
        let kept = ["--state", state.to_str().unwrap(), "--node", node];
        Agent::in_folder(folder.clone(), &[&kept, told].concat())
    };
    let first = start("n1", &["--zone", "b"]);
    written(folder.path(), |state| state.place.as_ref().is_some_and(|it| it.zone == "b")).await;
    drop(first.kill());
    let same_node = start("n1", &[]);
    same_node.logs("answered");
    assert_eq!(first_group(&same_node, "cart.shop").await, "zone b");
    drop(same_node.kill());
    let another = start("n2", &[]);
    another.logs("answered");
    assert_ne!(first_group(&another, "cart.shop").await, "zone b");
}

#[tokio::test]
async fn a_killed_agent_leaves_what_the_next_serves_at_once_though_not_as_ready() {
    let agent = again(left_behind().await);
    agent.logs("serving the services last known good");
    let (status, body) = pick(&agent, "cart.shop").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.get("stale"), None, "{body}");
    let (status, why) = agent.admin_page("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("no answer so far from file:"), "{why}");
    // A service that the state does not have may still become known.
    assert_eq!(pick(&agent, "other.shop").await.0, 504);
}

#[tokio::test]
async fn what_was_confirmed_over_ten_minutes_ago_is_served_as_stale_until_it_is_confirmed() {
    let folder = left_behind().await;
    let state = state_folder(folder.path());
    let mut record = file::read(&state).unwrap().unwrap();
    let ten_minutes = 600 * 1_000_000_000;
    record.services.iter_mut().for_each(|service| service.confirmed -= ten_minutes);
    file::write(&state, &record).unwrap();
    let agent = again(folder);
    assert_eq!(pick(&agent, "cart.shop").await.1["stale"], true);
    fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    agent.logs("answered");
    for _ in 0..1000 {
        if pick(&agent, "cart.shop").await.1.get("stale").is_none() {
            return;
        }
    }
    panic!("still stale");
}

#[tokio::test]
async fn the_source_has_the_last_word_on_what_was_last_good() {
    let folder = left_behind().await;
    let services = "services: [{name: cart.shop, endpoints: [{address: '10.9.9.9:1'}]}]";
    fs::write(folder.path().join("services.yaml"), services).unwrap();
    let agent = again(folder);
    agent.logs("answered");
    let (_, body) = pick(&agent, "cart.shop").await;
    assert_eq!(body["picks"][0]["address"], "10.9.9.9");
    assert_eq!(pick(&agent, "pay.shop").await.0, 404);
    written(agent.folder.path(), |state| state.services.len() == 1).await;
}

#[tokio::test]
async fn an_ejected_endpoint_stays_ejected_over_an_end_and_over_a_kill() {
    let agent = with_state(SHOP);
    let bad = "10.1.2.4:8080";
    eject(&agent, "cart.shop", bad).await;
    written(agent.folder.path(), |state| !state.judgements.is_empty()).await;
    let counted = async |agent: &Agent| agent.admin_page("/metrics").await.1;
    let one = "pointsman_endpoints_ejected{service=\"cart.shop\"} 1\n";
    assert!(counted(&agent).await.contains(one), "{}", counted(&agent).await);
    let agent = again(agent.kill());
    agent.still_serves().await;
    assert_eq!(state_of(&agent, "cart.shop", bad).await, "ejected");
    assert!(counted(&agent).await.contains(one), "{}", counted(&agent).await);
    let mut agent = agent;
    agent.terminate();
    assert_eq!(agent.ended().code(), Some(0));
    let agent = again(agent.folder.clone());
    assert_eq!(state_of(&agent, "cart.shop", bad).await, "ejected");
    let (_, body) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert!(body.to_string().contains("time 1 in a row"), "{body}");
}

/// The agent starts and serves with such a state, logs it, and writes a good one over it.
async fn serves_without(state: &[u8], says: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    fs::create_dir(state_folder(folder.path())).unwrap();
    fs::write(state_folder(folder.path()).join(file::NAME), state).unwrap();
    let agent = again(folder);
    let line = agent.logs("starting without it");
    assert!(line.contains(says) && line.contains(file::NAME), "{line}");
    agent.logs("answered");
    agent.still_serves().await;
    written(agent.folder.path(), |state| state.services.len() == 2).await;
}

async fn good() -> Vec<u8> {
    let folder = left_behind().await;
    fs::read(state_folder(folder.path()).join(file::NAME)).unwrap()
}

#[tokio::test]
async fn half_a_state_is_named_and_passed_over() {
    let state = good().await;
    let says = format!("cut short: {} bytes of {}", state.len() / 2, state.len());
    serves_without(&state[..state.len() / 2], &says).await;
}

#[tokio::test]
async fn a_state_of_another_version_is_named_and_passed_over() {
    let mut state = good().await;
    state[16] = 7;
    serves_without(&state, "it has version 7 of the format").await;
}

#[tokio::test]
async fn garbage_for_a_state_is_named_and_passed_over() {
    serves_without(b"\x7fELF garbage", "it is not a state that an agent wrote").await;
    let mut state = good().await;
    let last = state.len() - 1;
    state[last] ^= 1;
    serves_without(&state, "its checksum is wrong").await;
}

/// The longest time of a start with a debug build on a busy machine. A release build needs a tenth.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_hundred_thousand_endpoints_are_served_soon_after_a_start() {
    let endpoint = |service: u8, of: u8, last: u8| Endpoint {
        zone: Some("a".into()),
        labels: Arc::new(Labels::from([("shard".into(), (last % 4).to_string().into())])),
        ..Endpoint::at(([10, of, service, last], 8080).into())
    };
    let service = |of: u8, service: u8| {
        Service::new(
            format!("cart{service}.shop{of}").parse().unwrap(),
            "file",
            vec![Port {
                name: None,
                number: None,
                endpoints: (0..100).map(|last| endpoint(service, of, last)).collect(),
            }],
        )
    };
    let services = (0..10).flat_map(|of| (0..100).map(move |each| service(of, each)));
    let kept: Vec<LastGood> = services
        .map(|it| LastGood { service: Arc::new(it), source: SourceId(0), confirmed: None })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let source = format!("file:{}", folder.path().join("services.yaml").display());
    let record = pointsman::state::services::write(&kept, &[source], clock::wall());
    file::write(&state_folder(folder.path()), &record).unwrap();
    let begun = clock::now();
    let agent = again(folder);
    assert_eq!(pick(&agent, "cart99.shop9").await.0, 200);
    let took = clock::now() - begun;
    eprintln!("from the process's start to the first pick: {took:?}");
    assert!(took < SOON, "{took:?}");
}

/// A small file system of its own, if this user may mount one.
struct Disk(TempDir);

impl Disk {
    fn of_size(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|ran| ran.status.success()).then_some(Self(folder))
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

fn on(disk: &Disk) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    Agent::in_folder(folder, &["--state", disk.0.path().join("state").to_str().unwrap()])
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_one_are_named_and_left_alone() {
    let Some(disk) = Disk::of_size("16k") else { return };
    fs::write(disk.0.path().join("other"), [0; 20_000]).unwrap_err();
    let agent = on(&disk);
    let line = agent.logs("the state can't be written");
    assert!(line.contains("No space left on device"), "{line}");
    agent.still_serves().await;
    // The agent finds the new room by itself.
    fs::remove_file(disk.0.path().join("other")).unwrap();
    let one_more =
        format!("{SHOP}  - {{name: new.shop, endpoints: [{{address: '10.3.0.1:1'}}]}}\n");
    fs::write(agent.folder.path().join("services.yaml"), one_more).unwrap();
    agent.logs("the state is written again");
    drop(agent);

    disk.remount("ro");
    let agent = on(&disk);
    agent.logs("serving the services last known good");
    let line = agent.logs("the state can't be written");
    assert!(line.contains("Read-only file system"), "{line}");
    agent.still_serves().await;
}
