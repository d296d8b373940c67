//! Signals to the agent, and its notifications to systemd.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::symlink,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Agent, POINTSMAN, SHOP, command};

fn folder() -> Arc<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    folder.into()
}

#[tokio::test]
async fn sighup_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let folder = folder();
    let config = folder.path().join("agent.yaml");
    fs::write(&config, "policies: {default: {choices: 3}}\n").unwrap();
    let agent = Agent::in_folder(folder, &["--config", config.to_str().unwrap()]);
    agent.logs("answered");
    assert_eq!(agent.setting("choices").await, "3");

    fs::write(&config, "policies: {default: {choices: 99}}\n").unwrap();
    agent.signal(Signal::HUP);
    let line = agent.logs("the configuration stays as it was");
    assert!(line.contains("agent.yaml:1:") && line.contains("choices"), "{line}");
    assert_eq!(agent.setting("choices").await, "3");

    fs::write(&config, "zone: b\npolicies: {default: {choices: 4}}\n").unwrap();
    agent.signal(Signal::HUP);
    agent.logs("read the configuration again");
    agent.logs("zone, region or node has changed: it takes effect with the next start");
    assert_eq!(agent.setting("choices").await, "4");
    // The table in use has it, too. Four choices from three endpoints are all of them.
    agent.still_serves().await;
    let (_, body) = agent.http().await.get("/v1/services/cart.shop/explain").await;
    assert_eq!(body["groups"][0]["choices"], 4, "{body}");
}

#[tokio::test]
async fn sighup_has_sources_read_again_whose_change_nothing_told_of() {
    // The path of services.yaml has a link in the middle. The agent gets no events of the folder that
    // has the link: it watches only both ends of the path.
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| elsewhere.path().join(name);
    for (version, services) in [("v1", SHOP.to_owned()), ("v2", SHOP.replace("pay", "bill"))] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("services.yaml"), services).unwrap();
    }
    symlink(at("v1"), at("current")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(at("current/services.yaml"), folder.path().join("services.yaml")).unwrap();
    let agent = Agent::in_folder(folder, &[]);
    agent.logs("answered");
    let status =
        async |name: &str| agent.http().await.get(&format!("/v1/services/{name}")).await.0.as_u16();
    assert_eq!((status("pay.shop").await, status("bill.shop").await), (200, 404));

    symlink(at("v2"), at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status("bill.shop").await, 404, "it was told of: this test shows nothing");
    agent.signal(Signal::HUP);
    for _ in 0..1000 {
        if status("bill.shop").await == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was not read again");
}

/// The messages that a service manager receives.
struct Manager(UnixDatagram);

impl Manager {
    fn in_folder(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn manages(folder: &Path, command: &mut Command) {
        command.env("NOTIFY_SOCKET", folder.join("notify"));
    }

    /// The next message that is not a keep-alive.
    fn hears(&self) -> String {
        loop {
            let text = self.hears_anything();
            if text != "WATCHDOG=1" {
                return text;
            }
        }
    }

    fn hears_anything(&self) -> String {
        let mut bytes = [0; 1000];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap().trim().to_owned()
    }
}

#[tokio::test]
async fn systemd_hears_when_the_agent_is_ready_reloads_lives_and_ends() {
    let folder: Arc<TempDir> = tempfile::tempdir().unwrap().into();
    let manager = Manager::in_folder(folder.path());
    let mut command = command(folder.path());
    Manager::manages(folder.path(), &mut command);
    command.env("WATCHDOG_USEC", "100000");
    let mut agent = Agent::spawn(folder.clone(), command);
    agent.logs("listening");
    for _ in 0..5 {
        assert_eq!(manager.hears_anything(), "WATCHDOG=1", "not ready without its source");
    }
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    assert_eq!(manager.hears(), "READY=1");
    agent.signal(Signal::HUP);
    let reloading = manager.hears();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears(), "READY=1");
    agent.terminate();
    assert_eq!(manager.hears(), "STOPPING=1");
    assert_eq!(agent.ended().code(), Some(0));
}

/// Starts an agent with this listening socket, as systemd does.
fn activated(folder: &Arc<TempDir>, listener: &UnixListener) -> Agent {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null", POINTSMAN, "agent", "--source"])
        .arg(format!("file:{}", folder.path().join("services.yaml").display()))
        .args(["--admin", "127.0.0.1:0"])
        .env("LISTEN_FDS", "1")
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    let agent = Agent::spawn(folder.clone(), command);
    agent.logs("answered");
    agent
}

#[tokio::test]
async fn callers_of_a_passed_socket_wait_for_the_agent_and_are_never_refused() {
    let folder = folder();
    let path = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let _waits = UnixStream::connect(&path).unwrap();
    let mut first = activated(&folder, &listener);
    first.still_serves().await;
    first.terminate();
    assert_eq!(first.ended().code(), Some(0));
    // No agent serves, but a connection is still possible.
    let waits = tokio::net::UnixStream::connect(&path).await.unwrap();
    let second = activated(&folder, &listener);
    second.still_serves().await;
    drop(waits);
}

#[tokio::test]
async fn a_passed_socket_is_handed_on_as_it_is() {
    let folder = folder();
    let path = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut first = activated(&folder, &listener);
    let before = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    let second = Agent::in_folder(folder.clone(), &["--takeover"]);
    assert_eq!(first.ended().code(), Some(0));
    second.still_serves().await;
    let after = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    assert_eq!(before, after);
}

#[test]
fn something_else_than_a_socket_that_was_passed_is_refused() {
    let folder = folder();
    let file = fs::File::open(folder.path().join("services.yaml")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 3<&0", POINTSMAN, "agent", "--source", "file:x"]);
    let ran = command.env("LISTEN_FDS", "1").stdin(Stdio::from(file)).output().unwrap();
    let ran = crate::support::Ran::from(ran);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("ListenStream="), "{ran:?}");
}
