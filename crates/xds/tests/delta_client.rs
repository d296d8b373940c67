//! The rules of an incremental client, by their numbers in the README.

mod support;

use std::time::Duration;

use prost::Message;
use support::*;
use xds::{
    client::{DeltaClient, Event, delta::SILENCE},
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as SentResource,
            },
        },
        google::protobuf::Any,
    },
};

const NOW: Duration = Duration::ZERO;

struct Client(DeltaClient);

impl Client {
    fn new() -> Self {
        Self::with_all_of([])
    }

    fn with_all_of<'a>(types: impl IntoIterator<Item = &'a str>) -> Self {
        let mut client = DeltaClient::new(Node { id: "node".into(), ..Node::default() }, types);
        client.connected();
        Self(client)
    }

    fn next(&mut self) -> Option<DeltaDiscoveryRequest> {
        self.0.next_request(NOW)
    }

    fn subscribe(&mut self, names: &[&str]) {
        for name in names {
            self.0.subscribe(CLUSTER, *name);
        }
    }

    /// The events of a response. A body that begins with "bad" is wrong.
    fn receive(&mut self, response: DeltaDiscoveryResponse) -> Vec<String> {
        let decode = |_: &str, _: &str, body: &Any| {
            let text = String::from_utf8(body.value.to_vec()).expect("a text");
            if text.starts_with("bad") { Err(format!("{text} is bad")) } else { Ok(text) }
        };
        let events = self.0.response(response, decode);
        events.into_iter().map(|event| text(&event)).collect()
    }
}

fn text(event: &Event<String>) -> String {
    match event {
        Event::Updated { name, resource, .. } => format!("{name}={resource}"),
        Event::Missing { name, .. } => format!("-{name}"),
        Event::Rejected { name, why, .. } => format!("!{name}: {why}"),
    }
}

/// "name=body" or "-name".
fn response(nonce: &str, all: &[&str]) -> DeltaDiscoveryResponse {
    let removed = all.iter().filter_map(|text| text.strip_prefix('-'));
    let sent = all.iter().filter_map(|text| text.split_once('='));
    DeltaDiscoveryResponse {
        type_url: CLUSTER.into(),
        nonce: nonce.into(),
        removed_resources: removed.map(ToOwned::to_owned).collect(),
        resources: sent
            .map(|(name, body)| SentResource {
                name: name.into(),
                version: format!("v{body}"),
                resource: Some(Any { type_url: CLUSTER.into(), value: body.to_owned().into() }),
                ..SentResource::default()
            })
            .collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[test]
fn only_the_first_request_of_a_stream_has_the_node() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.0.subscribe(ASSIGNMENT, "a");
    assert_eq!(client.next().unwrap().node.unwrap().id, "node");
    assert_eq!(client.next().unwrap().node, None);
    client.0.connected();
    assert!(client.next().unwrap().node.is_some());
}

#[test]
fn line_24_every_response_is_answered_with_its_own_nonce() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1"]));
    client.receive(response("2", &["a=bad"]));
    client.receive(response("3", &["a=2"]));
    let answers: Vec<_> = std::iter::from_fn(|| client.next()).collect();
    let nonces: Vec<_> = answers.iter().map(|answer| answer.response_nonce.as_str()).collect();
    assert_eq!(nonces, ["1", "2", "3"]);
    let wrong: Vec<_> = answers.iter().map(|answer| answer.error_detail.is_some()).collect();
    assert_eq!(wrong, [false, true, false]);
}

#[test]
fn line_25_a_new_stream_is_told_the_versions_and_no_nonce() {
    let mut client = Client::new();
    client.subscribe(&["a", "b"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1"]));
    client.0.disconnected();
    assert_eq!(client.next(), None, "there is no stream");
    client.0.connected();
    let request = client.next().unwrap();
    assert_eq!(request.resource_names_subscribe, ["a", "b"]);
    assert_eq!(request.initial_resource_versions, [("a".into(), "v1".into())].into());
    assert_eq!(request.response_nonce, "");
    assert_eq!(client.next(), None, "the answers were of the other stream");
}

#[test]
fn line_26_what_was_not_asked_for_is_ignored() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    assert_eq!(client.receive(response("1", &["a=1", "b=1", "-c"])), ["a=1"]);
    assert_eq!(client.next().unwrap().error_detail, None);
    let mut other = response("2", &["a=1"]);
    other.type_url = LISTENER.into();
    assert!(client.receive(other).is_empty());
    let answer = client.next().unwrap();
    assert_eq!((answer.type_url.as_str(), answer.response_nonce.as_str()), (LISTENER, "2"));
    let why = answer.error_detail.unwrap().message;
    assert_eq!(why, format!("nothing of the type {LISTENER:?} was asked for"));
}

#[test]
fn line_27_what_the_server_says_nothing_of_for_15_s_does_not_exist() {
    let mut client = Client::new();
    client.0.disconnected();
    client.subscribe(&["a", "b"]);
    let at = |seconds| Duration::from_secs(seconds);
    assert_eq!(client.0.next_silence(), None, "nothing was sent yet");
    client.0.connected();
    client.0.next_request(at(100)).unwrap();
    assert_eq!(client.0.next_silence(), Some(at(100) + SILENCE));
    client.receive(response("1", &["a=1"]));
    assert!(client.0.silent::<String>(at(114)).is_empty());
    let silent = client.0.silent(at(115));
    assert_eq!(silent.iter().map(text).collect::<Vec<_>>(), ["-b"]);
    assert!(client.0.silent::<String>(at(200)).is_empty(), "each once");
    client.0.connected();
    client.0.next_request(at(300)).unwrap();
    client.receive(response("1", &["-b"]));
    assert_eq!(client.0.next_silence(), None, "never for what is known, or was answered");
}

#[test]
fn line_29_what_is_known_stays_without_a_server() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1"]));
    client.0.disconnected();
    assert!(client.0.silent::<String>(Duration::from_secs(3600)).is_empty());
}

#[test]
fn line_30_only_the_bad_resource_is_rejected_and_its_version_is_not_kept() {
    let mut client = Client::new();
    client.subscribe(&["a", "b", "c"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1", "b=1"]));
    client.next().unwrap();
    let events = client.receive(response("2", &["a=bad", "b=2", "c=bad2"]));
    assert_eq!(events, ["b=2", "!a: bad is bad", "!c: bad2 is bad"]);
    let error = client.next().unwrap().error_detail.unwrap();
    assert_eq!((error.code, error.message.as_str()), (3, "a: bad is bad; c: bad2 is bad"));
    client.0.connected();
    let known = client.next().unwrap().initial_resource_versions;
    // Not the accepted version of a: a server that has it again would say nothing, and the client would go on
    // complaining. But that there is one: else it would not hear that a is gone.
    assert_eq!(known, [("a".into(), String::new()), ("b".into(), "v2".into())].into());
}

#[test]
fn of_what_is_retracted_the_next_server_has_to_say_what_it_has() {
    let mut client = Client::with_all_of([CLUSTER]);
    client.subscribe(&["a", "b"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1", "b=1", "c=1", "d=1"]));
    client.receive(response("2", &["a=2", "-b", "-c"]));
    for name in ["a", "b", "c", "nobody.told.this"] {
        client.0.retract(CLUSTER, &name.into());
    }
    client.0.connected();
    let known = client.next().unwrap().initial_resource_versions;
    let of = |name: &str| known.get(name).map(String::as_str);
    assert_eq!([of("a"), of("b"), of("c"), of("d")], [Some(""), Some(""), Some(""), Some("v1")]);
    assert_eq!(client.receive(response("3", &["a=1", "-b", "-c"])), ["a=1", "-b", "-c"]);
    let mut named = Client::new();
    named.0.retract(CLUSTER, &"a".into());
    assert!(named.next().is_none(), "nobody wants it");
}

#[test]
fn a_removal_is_news_after_silence_and_after_a_rejection_and_only_once() {
    let mut client = Client::new();
    client.subscribe(&["a", "b"]);
    client.0.next_request(Duration::from_secs(100)).unwrap();
    assert_eq!(client.0.silent::<String>(Duration::from_secs(115)).len(), 2);
    assert_eq!(client.receive(response("1", &["-a"])), ["-a"], "silence said nothing of it");
    assert!(client.receive(response("2", &["-a"])).is_empty());
    client.receive(response("3", &["b=bad"]));
    assert_eq!(client.receive(response("4", &["-b"])), ["-b"]);
    assert_eq!(client.receive(response("5", &["a=1"])), ["a=1"]);
    assert_eq!(client.receive(response("6", &["-a"])), ["-a"]);
}

#[test]
fn what_is_subscribed_again_before_the_server_knew_is_asked_for_anew() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1"]));
    client.next().unwrap();
    client.0.unsubscribe(CLUSTER, "a");
    client.subscribe(&["a"]);
    assert_eq!(client.next().unwrap().resource_names_unsubscribe, ["a"]);
    assert_eq!(client.next().unwrap().resource_names_subscribe, ["a"]);
    assert!(client.next().is_none());
}

#[test]
fn a_subscription_to_very_many_resources_takes_several_requests() {
    let mut client = Client::new();
    let names: Vec<String> = (0..20_000).map(|n| format!("{n:0>100}")).collect();
    client.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let requests = |client: &mut Client| {
        let requests: Vec<_> = std::iter::from_fn(|| client.next()).collect();
        assert!(requests.iter().all(|request| request.encoded_len() < 2 << 20));
        let mut all: Vec<String> =
            requests.iter().flat_map(|it| it.resource_names_subscribe.clone()).collect();
        all.sort();
        assert_eq!(all, names, "each once");
        requests
    };
    assert!(requests(&mut client).len() >= 2);
    for part in names.chunks(1000) {
        let all: Vec<String> = part.iter().map(|name| format!("{name}=1")).collect();
        client.receive(response("1", &all.iter().map(String::as_str).collect::<Vec<_>>()));
        client.next().unwrap();
    }
    client.0.connected();
    let again = requests(&mut client);
    assert!(again.len() >= 2);
    let known = &again[0].initial_resource_versions;
    assert!(known.len() > 1000 && known.keys().eq(&again[0].resource_names_subscribe));
    assert!(again[1..].iter().all(|request| request.initial_resource_versions.is_empty()));
}

#[test]
fn a_rejection_of_many_resources_has_a_bound() {
    let mut client = Client::new();
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let all: Vec<String> = names.iter().map(|name| format!("{name}=bad")).collect();
    client.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>());
    client.next().unwrap();
    client.receive(response("1", &all.iter().map(String::as_str).collect::<Vec<_>>()));
    let message = client.next().unwrap().error_detail.unwrap().message;
    assert!(message.ends_with("; and 992 more") && message.len() < 300, "{message}");
}

#[test]
fn line_31_a_spontaneous_request_has_no_nonce() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    client.receive(response("1", &["a=1"]));
    client.subscribe(&["b"]);
    client.0.unsubscribe(CLUSTER, "a");
    assert_eq!(client.next().unwrap().response_nonce, "1");
    let request = client.next().unwrap();
    assert_eq!(request.response_nonce, "");
    assert_eq!(request.resource_names_subscribe, ["b"]);
    assert_eq!(request.resource_names_unsubscribe, ["a"]);
}

#[test]
fn a_subscription_that_ends_before_it_was_sent_is_never_sent() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    client.subscribe(&["b"]);
    client.0.unsubscribe(CLUSTER, "b");
    assert_eq!(client.next(), None);
    // One that ends, begins and ends again is ended at the server.
    client.0.unsubscribe(CLUSTER, "a");
    client.subscribe(&["a"]);
    client.0.unsubscribe(CLUSTER, "a");
    assert_eq!(client.next().unwrap().resource_names_unsubscribe, ["a"]);
    assert_eq!(client.next(), None);
}

#[test]
fn a_resource_that_is_in_a_response_twice_is_rejected_and_its_neighbours_count() {
    let mut client = Client::new();
    client.subscribe(&["a", "b"]);
    client.next().unwrap();
    let events = client.receive(response("1", &["a=1", "b=1", "a=2"]));
    assert_eq!(events, ["b=1", "!a: the response has it twice"]);
}

#[test]
fn a_body_that_is_missing_or_of_another_type_is_rejected() {
    let mut client = Client::new();
    client.subscribe(&["a", "b"]);
    client.next().unwrap();
    let mut wrong = response("1", &["a=1", "b=1"]);
    wrong.resources[0].resource = None;
    wrong.resources[1].resource.as_mut().unwrap().type_url = LISTENER.into();
    let expected = [
        "!a: it has no body".to_owned(),
        format!("!b: its body is a {LISTENER:?}, not a {CLUSTER:?}"),
    ];
    assert_eq!(client.receive(wrong), expected);
}

#[test]
fn a_wildcard_is_an_empty_list_or_a_star_beside_names() {
    let mut client = Client::with_all_of([CLUSTER]);
    assert!(client.next().unwrap().resource_names_subscribe.is_empty());
    assert_eq!(client.receive(response("1", &["a=1", "b=1"])), ["a=1", "b=1"]);
    assert_eq!(client.receive(response("2", &["-a", "-never"])), ["-a"]);
    client.subscribe(&["c"]);
    client.0.connected();
    let request = client.next().unwrap();
    assert_eq!(request.resource_names_subscribe, ["*", "c"]);
    assert_eq!(request.initial_resource_versions, [("b".into(), "v1".into())].into());
}

#[test]
fn a_server_that_invents_types_costs_a_bounded_number() {
    let mut client = Client::new();
    client.subscribe(&["a"]);
    client.next().unwrap();
    for n in 0..1000 {
        let mut invented = response(&n.to_string(), &[]);
        invented.type_url = format!("type{n}");
        client.receive(invented);
    }
    assert_eq!(std::iter::from_fn(|| client.next()).count(), 31);
}
