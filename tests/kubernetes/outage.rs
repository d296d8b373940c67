//! The API server is away: at the agent's start, later, and for long enough that the agent forgets
//! services.

use std::{path::Path, process::Command, time::Duration};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cluster::{Cluster, Shop, agent_by, an_address, pick, until},
    proxy::Proxy,
};

async fn three_pods() -> Shop {
    let shop = Cluster::shared().await.namespace().await;
    shop.selecting(json!({})).await;
    for n in 1..=3 {
        shop.pod(&format!("cart-{n}"), &format!("10.1.0.{n}"), "node-a").await;
    }
    shop
}

const THREE: [(&str, &str); 3] =
    [("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready"), ("10.1.0.3:8080", "ready")];

#[tokio::test]
async fn line_09_what_vanished_while_the_watch_was_away_is_gone_and_meanwhile_all_is_served() {
    let shop = three_pods().await;
    shop.service("users", json!({ "ports": [{ "name": "http", "port": 80 }] })).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &[]);
    agent.logs("answered");
    shop.served(&agent, &THREE).await;
    assert_eq!(pick(&agent, &shop.named("users")).await.0, 503, "known, and empty");

    proxy.cut();
    shop.pod_gone("cart-1").await;
    shop.pod("cart-4", "10.1.0.4", "node-b").await;
    shop.delete::<Service>("users").await;
    shop.service("pay", json!({ "ports": [{ "name": "http", "port": 80 }] })).await;
    for _ in 0..50 {
        assert_eq!(shop.pick(&agent).await.0, 200, "the last good state serves");
    }
    agent.logs("the last good state stays in force");
    assert_eq!(pick(&agent, &shop.named("pay")).await.0, 404, "nobody has heard of it yet");

    proxy.mend();
    let now = [("10.1.0.2:8080", "ready"), ("10.1.0.3:8080", "ready"), ("10.1.0.4:8080", "ready")];
    shop.served(&agent, &now).await;
    until((404, 503), async || {
        let of = async |service: &str| pick(&agent, &shop.named(service)).await.0;
        (of("users").await, of("pay").await)
    })
    .await;
    agent.logs("no longer: ");
}

#[tokio::test]
async fn an_agent_that_starts_without_its_api_server_serves_what_was_last_good_and_waits() {
    let shop = three_pods().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let first = agent_by(&through, folder, &["--state", &state]);
    first.logs("answered");
    shop.served(&first, &THREE).await;
    let kept = Path::new(&state).join("last-known-good");
    let name = shop.named("cart");
    until(true, async || {
        std::fs::read(&kept).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&name))
    })
    .await;
    let folder = first.kill();

    proxy.cut();
    let again = agent_by(&through, folder, &["--state", &state]);
    assert_eq!(shop.pick(&again).await.0, 200);
    assert_eq!(again.admin_page("/readyz").await.0, 503, "it is not the source's word");
    again.logs("no answer from https://127.0.0.1");
    let begin = tokio::time::Instant::now();
    let (status, said) = pick(&again, &shop.named("users")).await;
    assert_eq!(status, 504, "it may yet turn up: {said}");
    assert!(begin.elapsed() >= Duration::from_millis(900), "a pick waits for a second");
    shop.pod_gone("cart-1").await;

    proxy.mend();
    again.logs("answered");
    shop.served(&again, &THREE[1..]).await;
    assert_eq!(again.admin_page("/readyz").await.0, 200);
}

/// The number of services that the agent follows.
const FOLLOWED: usize = 100;
const OUTAGE: Duration = Duration::from_millis(2600);
/// The most attempts to connect during the outage: four, at least 125, 250, 500 and 1000 ms apart, and
/// one after it.
const ATTEMPTS: usize = 5;
/// The most connections that stay open: 48 services share one.
const STAY: usize = 3;

#[tokio::test]
async fn a_cut_has_an_agent_knock_a_few_times_whatever_it_follows() {
    let shop = Cluster::shared().await.namespace().await;
    shop.many(FOLLOWED).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &["--log", "pointsman=debug"]);
    agent.logs("answered");
    let address = |n: usize| (200, format!("{}:8080", an_address(n)));
    for n in 0..FOLLOWED {
        assert_eq!(pick(&agent, &shop.named(&format!("s{n}"))).await, address(n));
    }
    let watching = || agent.logged(&["watching", " of=EndpointSlices"]).len();
    until(FOLLOWED, async || watching()).await;

    let before = proxy.connections();
    proxy.cut();
    tokio::time::sleep(OUTAGE).await;
    let while_cut = proxy.connections() - before;
    proxy.mend();
    until(2 * FOLLOWED, async || watching()).await;
    let made = proxy.connections() - before;
    println!(
        "{before} at the start, {while_cut} in a cut of {OUTAGE:?}, {made} with those that stay"
    );
    assert!(before <= STAY, "{before} at the start");
    assert!(while_cut >= 2, "it looks again: {while_cut}");
    assert!(made <= ATTEMPTS + STAY, "{while_cut}, {made} in all");
    for n in [0, FOLLOWED - 1] {
        let now = json!({ "endpoints": [{ "addresses": ["10.9.0.1"] }] });
        shop.patch::<EndpointSlice>(&format!("s{n}"), now).await;
        let picked = async || pick(&agent, &shop.named(&format!("s{n}"))).await.1;
        until("10.9.0.1:8080".to_owned(), picked).await;
    }
}

/// The API server sends one bookmark a minute to a watch without changes.
#[tokio::test]
async fn a_quiet_watch_goes_on_from_its_last_bookmark() {
    let shop = three_pods().await;
    let elsewhere = Cluster::shared().await.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &["--log", "pointsman=debug"]);
    agent.logs("answered");
    shop.served(&agent, &THREE).await;
    let of = format!("EndpointSlices of {}", shop.named("cart"));
    let said = |what: &str| -> Vec<u64> {
        agent.logged(&[what, &of]).iter().map(|line| since(line)).collect()
    };
    until(1, async || said("watching").len()).await;
    let began = said("watching")[0];

    // An object of the same kind. The agent would hear of it if it belonged to the same service.
    elsewhere.by_hand(json!({})).await;
    elsewhere.slice("cart-1", json!([{ "addresses": ["10.2.0.1"] }])).await;
    let changed = elsewhere.version_of_slice("cart-1").await;
    let begin = tokio::time::Instant::now();
    let mut bookmarks: Vec<u64> = Vec::new();
    while bookmarks.last().is_none_or(|last| *last < changed) {
        assert!(begin.elapsed() < Duration::from_secs(140), "{bookmarks:?} of {changed}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        bookmarks = said("nothing new");
    }

    proxy.cut();
    until(true, async || agent.has_logged("no answer from")).await;
    proxy.mend();
    until(true, async || said("watching").len() == 2).await;
    let again = said("watching")[1];
    assert!(bookmarks.contains(&again), "from {again}, not from one of {bookmarks:?}");
    assert!(again > began, "{again} is no later than {began}");
    shop.pod_gone("cart-1").await;
    shop.served(&agent, &THREE[1..]).await;
    assert!(!agent.has_logged("listing again"));
}

/// The number in a line's `since="1234"`.
fn since(line: &str) -> u64 {
    let text = line.split("since=").nth(1).unwrap_or_else(|| panic!("{line}"));
    let digits = text.trim_start_matches('"').split(|it: char| !it.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

/// A control plane of its own, because the test stops it.
struct Own(TempDir);

impl Own {
    fn up() -> Self {
        let own = Self(tempfile::tempdir().unwrap());
        own.control(&["up"], &[]);
        own
    }

    fn control(&self, action: &[&str], program: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/control-plane");
        let ran = Command::new(script).args(action).arg(self.0.path()).args(program).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    fn signal(&self, program: &str, signal: Signal) {
        let pid = std::fs::read_to_string(self.0.path().join(format!("{program}.pid"))).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn shop(&self) -> Shop {
        let kubeconfig = self.0.path().join("identities/administrator.kubeconfig");
        Cluster::at(&kubeconfig).await.namespace().await
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.control(&["down"], &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_stopped_for_twenty_seconds_is_followed_again_from_a_new_list() {
    let own = Own::up();
    let shop = own.shop().await;
    // The test writes the slice, because the controller needs half a minute to find its API server
    // again.
    let endpoints = |all: &[u8]| -> serde_json::Value {
        all.iter().map(|n| json!({ "addresses": [format!("10.1.0.{n}")] })).collect()
    };
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", endpoints(&[1, 2, 3])).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &["--log", "pointsman=debug"]);
    agent.logs("answered");
    shop.served(&agent, &THREE).await;

    // The API server will have forgotten these changes when it is back.
    proxy.cut();
    shop.rewrite("cart-1", endpoints(&[2, 3])).await;
    own.control(&["stop"], &["kube-apiserver"]);
    proxy.mend();
    let stopped = tokio::time::Instant::now();
    let mut picks = 0;
    while stopped.elapsed() < Duration::from_secs(20) {
        assert_eq!(shop.pick(&agent).await.0, 200);
        picks += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(picks > 500, "{picks}");
    tokio::task::block_in_place(|| own.control(&["start"], &["kube-apiserver"]));
    shop.served(&agent, &THREE[1..]).await;
    agent.logs("listing again");
    shop.rewrite("cart-1", endpoints(&[2, 3, 4])).await;
    let all = [("10.1.0.2:8080", "ready"), ("10.1.0.3:8080", "ready"), ("10.1.0.4:8080", "ready")];
    shop.served(&agent, &all).await;
}

#[tokio::test]
async fn an_api_server_that_hangs_without_a_word_is_noticed() {
    let shop = three_pods().await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &[]);
    agent.logs("answered");
    shop.served(&agent, &THREE).await;
    proxy.hang();
    shop.pod_gone("cart-1").await;
    tokio::time::sleep(Duration::from_secs(22)).await;
    agent.logs("no answer from https://127.0.0.1");
    assert_eq!(crate::cluster::endpoints(&agent, &shop.named("cart")).await.len(), 3);
    proxy.mend();
    shop.served(&agent, &THREE[1..]).await;
}

/// The API server's answers wait for etcd, but it still answers pings.
#[tokio::test]
async fn an_api_server_that_takes_connections_and_answers_nothing_is_connected_to_anew() {
    let own = Own::up();
    let shop = own.shop().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    own.signal("etcd", Signal::STOP);
    let agent = agent_by(&through, folder, &[]);
    agent.logs("the API server took a connection and did not answer within 10s");
    until(true, async || proxy.connections() >= 2).await;
    own.signal("etcd", Signal::CONT);
    agent.logs("answered");
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}
