//! Leases over connections and identities.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
    time::Duration,
};

use pointsman::api::v1::PickRequest;
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::support::{Agent, POINTSMAN, Ran, SHOP};

#[tokio::test]
async fn an_http_lease_outlives_its_connection_and_is_reported_on_another() {
    let agent = Agent::with(SHOP);
    let (_, lease) = agent.http().await.pick("cart.shop").await;
    agent.in_flight_is("cart.shop", 1).await;
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_grpc_lease_is_reported_on_another_connection_too() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    let picked = client.pick(request).await.unwrap().into_inner();
    assert!(agent.http().await.report(&picked.picks[0].lease, "FAILURE").await);
}

#[tokio::test]
async fn a_grpc_lease_ends_soon_after_its_connection() {
    let agent = Agent::with(SHOP);
    let mut client = agent.grpc().await;
    let request = PickRequest { service: "cart.shop".to_owned(), ..Default::default() };
    client.pick(request).await.unwrap();
    let (_, kept) = agent.http().await.pick("cart.shop").await;
    agent.in_flight_is("cart.shop", 2).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.in_flight("cart.shop").await, 2, "a report may be on its way");
    agent.in_flight_is("cart.shop", 1).await;
    assert!(agent.http().await.report(&kept, "SUCCESS").await);
}

#[tokio::test]
async fn a_lease_reported_twice_is_accepted_and_counted_once() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    assert!(http.report(&lease, "FAILURE").await);
    assert!(http.report(&lease, "FAILURE").await);
    let (_, metrics) = agent.admin_page("/metrics").await;
    let counted = r#"pointsman_requests_ended_total{service="cart.shop",outcome="failure"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[tokio::test]
async fn a_lease_nobody_reports_ends_by_its_time() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let request = r#"{"service": "cart.shop", "leaseTtl": "0.3s"}"#;
    http.post("/v1/pick", request).await;
    agent.in_flight_is("cart.shop", 1).await;
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_in_flight() {
    let agent = Agent::with(SHOP);
    for _ in 0..200 {
        let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
        let request = "POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 23\r\n\r\n\
                       {\"service\":\"cart.shop\"}";
        stream.write_all(request.as_bytes()).await.unwrap();
        // With no byte read: whenever the answer comes, nobody is there.
        drop(stream);
    }
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn a_pick_that_waits_is_cancelled_with_its_caller() {
    let agent = Agent::with_silent_source();
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    let request = "POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 35\r\n\r\n\
                   {\"service\":\"cart.shop\",\"wait\":\"5s\"}";
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    agent.logs("answered");
    agent.in_flight_is("cart.shop", 0).await;
}

#[tokio::test]
async fn another_users_lease_is_unknown() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else's identity can be taken then.
        return;
    }
    let agent = Agent::with(SHOP);
    let (_, lease) = agent.http().await.pick("cart.shop").await;
    // Where anyone can run it.
    let open = Permissions::from_mode(0o755);
    std::fs::set_permissions(agent.folder.path(), open).unwrap();
    let program = agent.folder.path().join("pointsman");
    std::fs::copy(POINTSMAN, &program).unwrap();
    let stranger: Ran = Command::new(&program)
        .args(["report", &lease, "--outcome", "failure", "--socket"])
        .arg(agent.socket())
        .uid(65534)
        .output()
        .unwrap()
        .into();
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(stranger.stderr.contains("unknown"), "{stranger:?}");
    assert!(agent.http().await.report(&lease, "SUCCESS").await);
}
