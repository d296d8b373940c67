//! Short forms of messages, so that a test reads as the exchange it tests.

// Each test file uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

use std::time::Duration;

use xds::{
    Resource, Resources,
    proto::{
        envoy::service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
        google::rpc::Status,
    },
    server::{DeltaStream, SotwStream},
};

pub use xds::resource_type::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

/// For tests in which no time passes.
pub const NOW: Duration = Duration::from_secs(7);

/// Resources of one type: "name=body".
pub fn publish(resources: &mut Resources, type_url: &str, all: &[&str]) {
    for text in all {
        resources.set(type_url, resource(text));
    }
}

pub fn published(type_url: &str, all: &[&str]) -> Resources {
    let mut resources = Resources::default();
    publish(&mut resources, type_url, all);
    resources
}

pub fn resource(text: &str) -> Resource {
    let (name, body) = text.split_once('=').expect("name=body");
    Resource::new(name, body.to_owned())
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub fn status(message: &str) -> Status {
    Status { code: 3, message: message.into(), ..Status::default() }
}

// --- incremental ---

pub fn delta(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() }
}

pub fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_subscribe: strings(names), ..delta(type_url) }
}

pub fn unsubscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_unsubscribe: strings(names), ..delta(type_url) }
}

pub fn resume(type_url: &str, names: &[&str], known: &[&str]) -> DeltaDiscoveryRequest {
    let versions = known.iter().map(|text| {
        let resource = resource(text);
        (resource.name.to_string(), resource.version.to_string())
    });
    DeltaDiscoveryRequest {
        initial_resource_versions: versions.collect(),
        ..subscribe(type_url, names)
    }
}

pub fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { response_nonce: response.nonce.clone(), ..delta(&response.type_url) }
}

pub fn nack(response: &DeltaDiscoveryResponse, why: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { error_detail: Some(status(why)), ..ack(response) }
}

/// "type: name=body name=body -removed", with the last part of the type's name.
pub fn delta_text(response: &DeltaDiscoveryResponse) -> String {
    let mut text = short(&response.type_url);
    for sent in &response.resources {
        let body = sent.resource.as_ref().expect("a body");
        assert_eq!(body.type_url, response.type_url);
        text += &format!(" {}={}", sent.name, String::from_utf8_lossy(&body.value));
    }
    for name in &response.removed_resources {
        text += &format!(" -{name}");
    }
    text
}

fn short(type_url: &str) -> String {
    format!("{}:", type_url.rsplit('.').next().expect("a part"))
}

/// A stream, and what comes out of it as text.
#[derive(Default)]
pub struct Delta(pub DeltaStream);

impl Delta {
    pub fn send(&mut self, request: DeltaDiscoveryRequest) {
        self.0.request(request).expect("a request that is allowed");
    }

    /// All that the stream has to say, accepted at once.
    pub fn receive(&mut self, resources: &Resources) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(response) = self.0.next(resources, NOW) {
            self.send(ack(&response));
            all.push(delta_text(&response));
            assert!(all.len() < 100, "a hot loop: {all:?}");
        }
        all
    }
}

// --- state of the world ---

pub fn ask(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.into(),
        resource_names: strings(names),
        ..Default::default()
    }
}

pub fn sotw_text(response: &DiscoveryResponse) -> String {
    let mut text = short(&response.type_url);
    for body in &response.resources {
        assert_eq!(body.type_url, response.type_url);
        text += &format!(" {}", String::from_utf8_lossy(&body.value));
    }
    text
}

/// A stream, and what comes out of it as text.
#[derive(Default)]
pub struct Sotw(pub SotwStream);

impl Sotw {
    pub fn send(&mut self, request: DiscoveryRequest) {
        self.0.request(request).expect("a request that is allowed");
    }

    pub fn next(&mut self, resources: &Resources) -> Option<DiscoveryResponse> {
        self.0.next(resources, NOW)
    }

    /// All that the stream has to say. The client has still to answer.
    pub fn receive(&mut self, resources: &Resources) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(response) = self.0.next(resources, NOW) {
            all.push(sotw_text(&response));
            assert!(all.len() < 100, "a hot loop: {all:?}");
        }
        all
    }
}

/// The answer to a response: accepted, with all names that the client asks for.
pub fn accept(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..ask(&response.type_url, names)
    }
}

pub fn reject(response: &DiscoveryResponse, names: &[&str], why: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: String::new(),
        error_detail: Some(status(why)),
        ..accept(response, names)
    }
}
