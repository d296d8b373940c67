//! Health and reflection, as gRPC's own tools use them.

use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::{Code, codegen::tokio_stream};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{Agent, SHOP};

fn service(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.to_owned() }
}

#[tokio::test]
async fn an_agent_is_healthy_once_every_source_has_answered() {
    let agent = Agent::with_silent_source();
    let mut health = HealthClient::new(agent.channel().await);
    let watch = health.watch(service("pointsman.v1.Agent")).await.unwrap();
    let mut watch = watch.into_inner();
    for name in ["", "pointsman.v1.Agent"] {
        let answer = health.check(service(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing, "{name:?}");
    }
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    std::fs::write(agent.folder.path().join("services.yaml"), SHOP).unwrap();
    let second = watch.message().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::Serving);
    for name in ["", "pointsman.v1.Agent"] {
        let answer = health.check(service(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{name:?}");
    }
}

#[tokio::test]
async fn the_health_of_an_unknown_service_is_not_found_and_when_watched_unknown() {
    let agent = Agent::with(SHOP);
    let mut health = HealthClient::new(agent.channel().await);
    let status = health.check(service("cart.shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("pointsman.v1.Agent"), "{status}");
    let mut watch = health.watch(service("cart.shop")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
}

// On other threads, so the client learns of the end while this thread waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_waits_for_no_watcher_of_its_health() {
    let mut agent = Agent::with(SHOP);
    let mut health = HealthClient::new(agent.channel().await);
    let mut watch = health.watch(service("")).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let begin = pointsman::clock::now();
    agent.terminate();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    drop((watch, health));
    assert_eq!(agent.ended().code(), Some(0));
    assert!(pointsman::clock::now() - begin < Duration::from_secs(3));
}

/// The answers of one version of reflection: the names of the services, and the file with a symbol.
macro_rules! reflected {
    ($version:ident, $agent:expr, $symbol:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask =
            |asked| ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
        let asked = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol($symbol.to_owned())),
        ];
        let mut client = ServerReflectionClient::new($agent.channel().await);
        let answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap();
        let mut answers = answers.into_inner();
        let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
        let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        let found = answers.message().await;
        let file = found.map(|found| match found.unwrap().message_response.unwrap() {
            MessageResponse::FileDescriptorResponse(file) => file.file_descriptor_proto,
            other => panic!("{other:?}"),
        });
        (names, file)
    }};
}

fn has_all(names: &[String]) {
    for name in ["pointsman.v1.Agent", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|each| each == name), "{name}: {names:?}");
    }
}

/// The file that declares the service and its calls.
fn declares_the_calls(files: &[Vec<u8>]) {
    let file = FileDescriptorProto::decode(&*files[0]).unwrap();
    assert_eq!(file.name(), "pointsman/v1/agent.proto");
    let calls: Vec<&str> = file.service[0].method.iter().map(|method| method.name()).collect();
    assert!(calls.contains(&"Session") && calls.contains(&"WatchService"), "{calls:?}");
}

#[tokio::test]
async fn services_and_messages_are_told_by_both_versions_of_reflection() {
    let agent = Agent::with(SHOP);
    let (names, file) = reflected!(v1, agent, "pointsman.v1.Agent");
    has_all(&names);
    declares_the_calls(&file.unwrap());
    let (names, file) = reflected!(v1alpha, agent, "pointsman.v1.PickRequest");
    has_all(&names);
    declares_the_calls(&file.unwrap());
}

#[tokio::test]
async fn a_symbol_that_is_not_known_is_not_found() {
    let agent = Agent::with(SHOP);
    let (_, file) = reflected!(v1, agent, "pointsman.v1.Nothing");
    assert_eq!(file.unwrap_err().code(), Code::NotFound);
    agent.still_serves().await;
}

#[tokio::test]
async fn methods_that_health_and_reflection_do_not_have_are_unimplemented() {
    let agent = Agent::with(SHOP);
    for path in [
        "/grpc.health.v1.Health/Chekc",
        "/grpc.health.v2.Health/Check",
        "/grpc.reflection.v1.ServerReflection/Info",
        "/grpc.reflection.",
    ] {
        let (code, text) = agent.grpc_raw(path, vec![0; 5], &[]).await;
        assert_eq!(code, Code::Unimplemented as i32, "{path}: {text}");
    }
    // Malformed, incomplete and too large.
    for body in [vec![0, 0, 0, 0, 2, 0x0a, 9], vec![0, 0, 0], vec![0, 0xff, 0xff, 0xff, 0xff]] {
        let (code, _) = agent.grpc_raw("/grpc.health.v1.Health/Check", body, &[]).await;
        assert_ne!(code, 0);
    }
    agent.still_serves().await;
}
