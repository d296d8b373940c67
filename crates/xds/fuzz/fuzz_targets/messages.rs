//! Whatever bytes come from the network, no end panics, none goes on for ever, and no response has a
//! resource twice.

#![no_main]

use std::{collections::BTreeSet, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use xds::{
    Resource, Resources,
    client::DeltaClient,
    proto::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
    },
    resource_type::{ASSIGNMENT, CLUSTER},
    server::{DeltaStream, SotwStream},
};

const TYPES: [&str; 2] = [CLUSTER, ASSIGNMENT];

#[derive(Arbitrary, Debug)]
enum Step {
    /// Any bytes as a message.
    DeltaRequest(Vec<u8>),
    SotwRequest(Vec<u8>),
    Response(Vec<u8>),
    /// Messages that mean something.
    Subscribe { of: bool, names: Vec<u8>, unsubscribe: Vec<u8>, nonce: u8, rejects: bool },
    Ask { of: bool, names: Vec<u8>, nonce: u8, rejects: bool },
    Publish { of: bool, name: u8, body: u8 },
    Remove { of: bool, name: u8 },
}

fn names(of: &[u8]) -> Vec<String> {
    // 0 is the wildcard.
    of.iter().map(|n| if *n == 0 { "*".to_owned() } else { n.to_string() }).collect()
}

fn rejection(rejects: bool) -> Option<xds::proto::google::rpc::Status> {
    rejects.then(Default::default)
}

/// No client answers, so that a stream stops by itself.
const MOST_RESPONSES: usize = 64;

fuzz_target!(|steps: Vec<Step>| {
    let mut published = Resources::default();
    let (mut delta, mut sotw) = (DeltaStream::new(), SotwStream::new());
    let mut client = DeltaClient::new(Default::default(), [CLUSTER]);
    client.subscribe(ASSIGNMENT, "1");
    client.connected();
    for step in steps {
        let type_url = |of: bool| TYPES[usize::from(of)].to_owned();
        match step {
            Step::DeltaRequest(bytes) => {
                if let Ok(request) = DeltaDiscoveryRequest::decode(&*bytes) {
                    delta.request(request).ok();
                }
            }
            Step::SotwRequest(bytes) => {
                if let Ok(request) = DiscoveryRequest::decode(&*bytes) {
                    sotw.request(request).ok();
                }
            }
            Step::Response(bytes) => {
                if let Ok(response) = DeltaDiscoveryResponse::decode(&*bytes) {
                    client.response(response, |_, _, _| Ok::<_, String>(()));
                }
            }
            Step::Subscribe { of, names: subscribe, unsubscribe, nonce, rejects } => {
                let request = DeltaDiscoveryRequest {
                    type_url: type_url(of),
                    resource_names_subscribe: names(&subscribe),
                    resource_names_unsubscribe: names(&unsubscribe),
                    response_nonce: nonce.to_string(),
                    error_detail: rejection(rejects),
                    ..Default::default()
                };
                delta.request(request).ok();
            }
            Step::Ask { of, names: asked, nonce, rejects } => {
                let nonce = if nonce == 0 { String::new() } else { nonce.to_string() };
                let request = DiscoveryRequest {
                    type_url: type_url(of),
                    resource_names: names(&asked),
                    response_nonce: nonce,
                    error_detail: rejection(rejects),
                    ..Default::default()
                };
                sotw.request(request).ok();
            }
            Step::Publish { of, name, body } => {
                published.set(&type_url(of), Resource::new(name.to_string(), body.to_string()));
            }
            Step::Remove { of, name } => {
                published.remove(&type_url(of), &name.to_string());
            }
        }
        let mut responses = 0;
        while let Some(response) = delta.next(&published, Duration::ZERO) {
            let names: BTreeSet<_> = response.resources.iter().map(|sent| &sent.name).collect();
            assert_eq!(names.len(), response.resources.len(), "a name twice");
            client.response(response, |_, _, _| Ok::<_, String>(()));
            responses += 1;
            assert!(responses <= MOST_RESPONSES, "an incremental stream goes on for ever");
        }
        responses = 0;
        while sotw.next(&published, Duration::ZERO).is_some() {
            responses += 1;
            assert!(responses <= MOST_RESPONSES, "a stream of the whole state goes on for ever");
        }
        responses = 0;
        while client.next_request(Duration::ZERO).is_some() {
            responses += 1;
            assert!(responses <= 4 * MOST_RESPONSES, "a client goes on for ever");
        }
    }
});
