//! The rules of a state-of-the-world server, by their numbers in the README.

mod support;

use std::time::Duration;

use support::*;
use xds::{
    Resource, Resources,
    server::{Answer, limits},
};

/// A stream that has asked for these, with the response.
fn begun(
    resources: &Resources,
    type_url: &str,
    names: &[&str],
) -> (Sotw, xds::proto::envoy::service::discovery::v3::DiscoveryResponse) {
    let mut stream = Sotw::default();
    stream.send(ask(type_url, names));
    let response = stream.next(resources).expect("a response");
    (stream, response)
}

#[test]
fn line_01_only_the_error_tells_a_rejection() {
    let resources = published(CLUSTER, &["a=1"]);
    let (mut stream, response) = begun(&resources, CLUSTER, &["a"]);
    // Its version is the one that was sent, and it is a rejection still.
    let mut request = reject(&response, &["a"], "bad");
    request.version_info.clone_from(&response.version_info);
    let rejection = stream.0.request(request).unwrap().unwrap().rejection.unwrap();
    assert_eq!((rejection.names, &*rejection.message), (vec!["a".into()], "bad"));
    assert!(stream.receive(&resources).is_empty(), "no hot loop");
    // An earlier version without an error is no rejection.
    let mut request = accept(&response, &["a"]);
    request.version_info = "0".into();
    assert_eq!(stream.0.request(request).unwrap(), None);
}

#[test]
fn line_02_a_request_with_a_stale_nonce_changes_nothing() {
    let mut resources = published(CLUSTER, &["a=1", "b=1"]);
    let (mut stream, first) = begun(&resources, CLUSTER, &["a"]);
    stream.send(accept(&first, &["a"]));
    publish(&mut resources, CLUSTER, &["a=2"]);
    let second = stream.next(&resources).unwrap();
    stream.send(accept(&first, &["b"]));
    assert!(stream.receive(&resources).is_empty());
    stream.send(accept(&second, &["a", "b"]));
    assert_eq!(stream.receive(&resources), ["Cluster: 2 1"], "the restated names count");
}

#[test]
fn line_03_nonces_and_versions_are_of_a_type_and_a_stream() {
    let mut resources = published(CLUSTER, &["a=1"]);
    publish(&mut resources, ASSIGNMENT, &["a=1"]);
    let (mut stream, clusters) = begun(&resources, CLUSTER, &["a"]);
    stream.send(ask(ASSIGNMENT, &["a"]));
    let assignments = stream.next(&resources).unwrap();
    assert_ne!(clusters.nonce, assignments.nonce);
    publish(&mut resources, ASSIGNMENT, &["a=2"]);
    stream.send(accept(&clusters, &["a"]));
    assert_eq!(stream.receive(&resources), ["ClusterLoadAssignment: 2"]);
    // A new stream knows no nonce, so the first request counts whatever it has.
    let mut stream = Sotw::default();
    stream.send(accept(&clusters, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: 1"]);
}

#[test]
fn equal_content_has_an_equal_version_at_every_server_and_other_content_another() {
    let resources = published(CLUSTER, &["a=1", "b=1"]);
    let (_, one) = begun(&resources, CLUSTER, &[]);
    let (_, other) = begun(&published(CLUSTER, &["b=1", "a=1"]), CLUSTER, &[]);
    assert_eq!(one.version_info, other.version_info);
    for different in [&["a=1"][..], &["a=1", "b=2"], &["a=1", "c=1"], &[]] {
        let (_, other) = begun(&published(CLUSTER, different), CLUSTER, &[]);
        assert_ne!(one.version_info, other.version_info, "{different:?}");
    }
}

#[test]
fn line_05_clusters_and_listeners_are_always_listed_whole() {
    for type_url in [CLUSTER, LISTENER] {
        let mut resources = published(type_url, &["a=1", "b=2"]);
        let (mut stream, response) = begun(&resources, type_url, &[]);
        stream.send(accept(&response, &[]));
        resources.remove(type_url, "a");
        assert!(stream.receive(&resources)[0].ends_with(": 2"), "absence means deletion");
        publish(&mut resources, type_url, &["c=3"]);
        assert!(stream.receive(&resources)[0].ends_with(": 2 3"));
    }
}

#[test]
fn line_06_assignments_and_routes_come_alone() {
    for type_url in [ASSIGNMENT, ROUTES] {
        let mut resources = published(type_url, &["a=1", "b=2"]);
        let (mut stream, response) = begun(&resources, type_url, &["a", "b"]);
        stream.send(accept(&response, &["a", "b"]));
        publish(&mut resources, type_url, &["b=3"]);
        assert!(stream.receive(&resources)[0].ends_with(": 3"));
        resources.remove(type_url, "a");
        assert!(stream.receive(&resources).is_empty(), "absence is not deletion");
        publish(&mut resources, type_url, &["a=1"]);
        assert!(stream.receive(&resources)[0].ends_with(": 1"), "it is back at the same version");
    }
}

#[test]
fn line_07_who_never_named_a_resource_gets_all_and_who_did_gets_none_for_an_empty_list() {
    let mut resources = published(CLUSTER, &["a=1", "b=2"]);
    let (mut stream, response) = begun(&resources, CLUSTER, &[]);
    assert_eq!(sotw_text(&response), "Cluster: 1 2");
    stream.send(accept(&response, &["a"]));
    let narrowed = stream.next(&resources).unwrap();
    assert_eq!(sotw_text(&narrowed), "Cluster: 1");
    stream.send(accept(&narrowed, &[]));
    publish(&mut resources, CLUSTER, &["a=9", "b=9"]);
    assert!(stream.receive(&resources).is_empty());
}

#[test]
fn line_08_the_wildcard_can_be_dropped_alone() {
    let mut resources = published(CLUSTER, &["a=1", "b=2"]);
    let (mut stream, response) = begun(&resources, CLUSTER, &["*", "a"]);
    assert_eq!(sotw_text(&response), "Cluster: 1 2");
    stream.send(accept(&response, &["a"]));
    publish(&mut resources, CLUSTER, &["b=3"]);
    assert!(stream.receive(&resources).is_empty());
    publish(&mut resources, CLUSTER, &["a=4"]);
    assert_eq!(stream.receive(&resources), ["Cluster: 4"]);
}

#[test]
fn line_09_a_new_name_is_sent_with_what_has_not_changed() {
    let resources = published(ASSIGNMENT, &["a=1", "b=2"]);
    let (mut stream, response) = begun(&resources, ASSIGNMENT, &["a"]);
    stream.send(accept(&response, &["a", "b"]));
    assert_eq!(stream.receive(&resources), ["ClusterLoadAssignment: 2"]);
}

#[test]
fn line_10_who_unsubscribes_and_subscribes_again_gets_the_same_version_again() {
    let resources = published(ASSIGNMENT, &["a=1", "b=2"]);
    let (mut stream, response) = begun(&resources, ASSIGNMENT, &["a", "b"]);
    stream.send(accept(&response, &["b"]));
    stream.send(accept(&response, &["a", "b"]));
    assert_eq!(stream.receive(&resources), ["ClusterLoadAssignment: 1"]);
}

#[test]
fn line_11_a_name_that_did_not_exist_is_sent_once_it_does() {
    for type_url in [CLUSTER, ASSIGNMENT, LISTENER, ROUTES] {
        let mut resources = published(type_url, &["b=2"]);
        let (mut stream, response) = begun(&resources, type_url, &["a", "b"]);
        assert!(sotw_text(&response).ends_with(": 2"));
        stream.send(accept(&response, &["a", "b"]));
        publish(&mut resources, type_url, &["a=1"]);
        assert_eq!(stream.receive(&resources).len(), 1);
    }
}

#[test]
fn line_12_a_client_that_asks_for_what_is_missing_is_answered_at_once() {
    for type_url in [CLUSTER, LISTENER] {
        let (_, response) = begun(&Resources::default(), type_url, &["a"]);
        assert!(response.resources.is_empty(), "a list without it says that it does not exist");
    }
}

#[test]
fn line_13_an_acceptance_is_not_answered() {
    let resources = published(CLUSTER, &["a=1"]);
    for names in [&[][..], &["a"], &["*"]] {
        let (mut stream, response) = begun(&resources, CLUSTER, names);
        stream.send(accept(&response, names));
        assert!(stream.receive(&resources).is_empty());
        stream.send(accept(&response, names));
        assert!(stream.receive(&resources).is_empty(), "nor is its repetition");
    }
}

#[test]
fn line_14_no_name_is_in_a_response_twice() {
    let resources = published(CLUSTER, &["a=1", "b=2"]);
    let (_, response) = begun(&resources, CLUSTER, &["*", "a", "a"]);
    assert_eq!(sotw_text(&response), "Cluster: 1 2");
}

#[test]
fn line_15_an_assignment_follows_its_cluster_again() {
    let mut resources = published(ASSIGNMENT, &["e=1"]);
    let cluster =
        |body: &'static str| Resource { needs: Some("e".into()), ..Resource::new("c", body) };
    resources.set(CLUSTER, cluster("1"));
    let (mut stream, clusters) = begun(&resources, CLUSTER, &[]);
    stream.send(accept(&clusters, &[]));
    stream.send(ask(ASSIGNMENT, &["e"]));
    assert_eq!(stream.receive(&resources), ["ClusterLoadAssignment: 1"]);
    resources.set(CLUSTER, cluster("2"));
    assert_eq!(stream.receive(&resources), ["Cluster: 2", "ClusterLoadAssignment: 1"]);
}

#[test]
fn line_16_updates_come_in_order_and_pure_removals_last() {
    let mut resources = Resources::default();
    let mut stream = Sotw::default();
    for type_url in [ROUTES, LISTENER, ASSIGNMENT, CLUSTER] {
        publish(&mut resources, type_url, &["a=1"]);
        stream.send(ask(type_url, &["a", "b"]));
    }
    let types = ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"];
    assert_eq!(stream.receive(&resources), types.map(|of| format!("{of}: 1")));
    resources.remove(CLUSTER, "a");
    for type_url in [ROUTES, LISTENER] {
        publish(&mut resources, type_url, &["b=2"]);
    }
    let expected = ["Listener: 1 2", "RouteConfiguration: 2", "Cluster:"];
    assert_eq!(stream.receive(&resources), expected);
}

#[test]
fn assignments_come_in_responses_that_grpc_clients_take() {
    let mut resources = Resources::default();
    let names: Vec<String> = (0..50).map(|n| format!("e{n:02}")).collect();
    for name in &names {
        resources.set(ASSIGNMENT, Resource::new(name.as_str(), "x".repeat(100_000)));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stream = Sotw::default();
    stream.send(ask(ASSIGNMENT, &names));
    let (mut sent, mut responses) = (0, 0);
    while let Some(response) = stream.next(&resources) {
        let bytes: usize = response.resources.iter().map(|body| body.value.len()).sum();
        assert!(bytes <= limits::RESPONSE_BYTES);
        sent += response.resources.len();
        responses += 1;
        stream.send(accept(&response, &names));
    }
    assert_eq!((sent, responses), (50, 5));
}

#[test]
fn a_rejection_that_is_repeated_is_told_once() {
    let resources = published(CLUSTER, &["a=1"]);
    let (mut stream, response) = begun(&resources, CLUSTER, &["a"]);
    assert!(stream.0.request(reject(&response, &["a"], "bad")).unwrap().is_some());
    for _ in 0..3 {
        assert_eq!(stream.0.request(reject(&response, &["a"], "bad")).unwrap(), None);
    }
}

#[test]
fn a_new_cluster_brings_its_own_assignment_and_no_other() {
    let mut resources = published(ASSIGNMENT, &["a=1", "b=2"]);
    for name in ["a", "b"] {
        resources.set(CLUSTER, Resource { needs: Some(name.into()), ..Resource::new(name, name) });
    }
    let (mut stream, clusters) = begun(&resources, CLUSTER, &["a"]);
    stream.send(ask(ASSIGNMENT, &["a"]));
    let assignments = stream.next(&resources).unwrap();
    stream.send(accept(&clusters, &["a", "b"]));
    stream.send(accept(&assignments, &["a", "b"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a b", "ClusterLoadAssignment: 2"]);
}

#[test]
fn listeners_and_clusters_are_so_few_that_a_client_takes_the_list() {
    let names: Vec<String> = (0..=limits::MOST_LISTED).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (type_url, allowed) in [(LISTENER, false), (CLUSTER, false), (ASSIGNMENT, true)] {
        assert_eq!(Sotw::default().0.request(ask(type_url, &names)).is_ok(), allowed);
    }
}

#[test]
fn an_answer_says_once_when_its_response_was_sent() {
    let at = Duration::from_secs;
    let mut resources = published(CLUSTER, &["a=1"]);
    let mut stream = Sotw::default();
    assert_eq!(stream.0.request(ask(CLUSTER, &["a"])), Ok(None));
    let first = stream.0.next(&resources, at(1)).unwrap();
    let status = |stream: &Sotw| stream.0.status().next().unwrap().1;
    assert_eq!(status(&stream).version.unwrap().to_string(), first.version_info);
    assert_eq!((stream.0.unanswered(), status(&stream).unanswered_since), (1, Some(at(1))));
    let accepted = |sent| Ok(Some(Answer { sent, rejection: None }));
    assert_eq!(stream.0.request(accept(&first, &["a"])), accepted(at(1)));
    assert_eq!((stream.0.unanswered(), status(&stream).unanswered_since), (0, None));
    assert_eq!(stream.0.request(accept(&first, &["a", "b"])), Ok(None), "it asks for more");
    publish(&mut resources, CLUSTER, &["a=2"]);
    let second = stream.0.next(&resources, at(2)).unwrap();
    assert_eq!(stream.0.request(accept(&first, &["a", "b"])), Ok(None), "it is stale");
    assert_eq!(stream.0.unanswered(), 1);
    let answer = stream.0.request(reject(&second, &["a", "b"], "bad")).unwrap().unwrap();
    assert!(answer.sent == at(2) && answer.rejection.is_some());
    assert_eq!((stream.0.unanswered(), status(&stream).unanswered), (0, 0));
}
