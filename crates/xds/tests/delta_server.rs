//! The rules of an incremental server, by their numbers in the README.

mod support;

use std::time::Duration;

use support::*;
use xds::{
    Resource, Resources,
    proto::envoy::service::discovery::v3::DeltaDiscoveryRequest,
    server::{Answer, Rejection, RequestError, limits},
};

fn rejected(stream: &mut Delta, request: DeltaDiscoveryRequest) -> Rejection {
    stream.0.request(request).unwrap().expect("an answer").rejection.expect("a rejection")
}

#[test]
fn line_12_a_missing_resource_does_not_hold_others_up() {
    let resources = published(ASSIGNMENT, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(ASSIGNMENT, &["a", "b"]));
    assert_eq!(
        stream.receive(&resources),
        ["ClusterLoadAssignment: a=1", "ClusterLoadAssignment: -b"]
    );
}

#[test]
fn line_13_nothing_is_sent_without_a_change() {
    let mut resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
    assert!(stream.receive(&resources).is_empty());
    publish(&mut resources, CLUSTER, &["a=2"]);
    publish(&mut resources, CLUSTER, &["a=1"]);
    assert!(stream.receive(&resources).is_empty(), "it changed, and changed back");
    publish(&mut resources, ASSIGNMENT, &["a=1"]);
    assert!(stream.receive(&resources).is_empty(), "nobody asked for it");
}

#[test]
fn line_15_an_assignment_follows_its_cluster_again() {
    let mut resources = published(ASSIGNMENT, &["e=1"]);
    let cluster =
        |body: &'static str| Resource { needs: Some("e".into()), ..Resource::new("c", body) };
    resources.set(CLUSTER, cluster("1"));
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    stream.send(subscribe(ASSIGNMENT, &["e"]));
    let both = ["Cluster: c=1", "ClusterLoadAssignment: e=1"];
    assert_eq!(stream.receive(&resources), both, "each once");
    resources.set(CLUSTER, cluster("2"));
    assert_eq!(stream.receive(&resources), ["Cluster: c=2", "ClusterLoadAssignment: e=1"]);
    stream.send(unsubscribe(ASSIGNMENT, &["e"]));
    resources.set(CLUSTER, cluster("3"));
    assert_eq!(stream.receive(&resources), ["Cluster: c=3"]);
}

#[test]
fn line_16_updates_come_in_order_and_removals_last_in_the_other_order() {
    let mut resources = Resources::default();
    for type_url in [ROUTES, LISTENER, ASSIGNMENT, CLUSTER] {
        publish(&mut resources, type_url, &["old=1"]);
    }
    let mut stream = Delta::default();
    for type_url in [ROUTES, LISTENER, ASSIGNMENT, CLUSTER] {
        stream.send(subscribe(type_url, &[]));
    }
    stream.receive(&resources);
    for type_url in [ROUTES, LISTENER, ASSIGNMENT, CLUSTER] {
        resources.remove(type_url, "old");
        publish(&mut resources, type_url, &["new=1"]);
    }
    let types = ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"];
    let mut expected: Vec<String> = types.iter().map(|of| format!("{of}: new=1")).collect();
    expected.extend(types.iter().rev().map(|of| format!("{of}: -old")));
    assert_eq!(stream.receive(&resources), expected);
}

#[test]
fn line_17_a_subscription_is_answered_even_if_the_client_is_current() {
    let resources = published(CLUSTER, &["a=1", "b=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
    stream.send(subscribe(CLUSTER, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
    stream.send(unsubscribe(CLUSTER, &["a"]));
    stream.send(subscribe(CLUSTER, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"], "the same version, asked for anew");
}

#[test]
fn line_17_what_the_first_request_has_at_the_current_version_is_not_sent() {
    let resources = published(CLUSTER, &["a=1", "b=2", "c=1"]);
    let mut stream = Delta::default();
    stream.send(resume(CLUSTER, &["a", "b", "c"], &["a=1", "b=1"]));
    assert_eq!(stream.receive(&resources), ["Cluster: b=2 c=1"]);
    stream.send(resume(CLUSTER, &["a"], &["a=1"]));
    assert_eq!(
        stream.receive(&resources),
        ["Cluster: a=1"],
        "only the first request's versions count"
    );
}

#[test]
fn line_18_a_missing_name_is_told_and_sent_once_it_exists() {
    let mut resources = Resources::default();
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: -a"]);
    publish(&mut resources, CLUSTER, &["a=1"]);
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
    resources.remove(CLUSTER, "a");
    assert_eq!(stream.receive(&resources), ["Cluster: -a"]);
    publish(&mut resources, CLUSTER, &["a=1"]);
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"], "the version that it had before");
}

#[test]
fn line_19_an_unsubscription_is_not_answered() {
    let mut resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["a"]));
    stream.receive(&resources);
    stream.send(unsubscribe(CLUSTER, &["a", "never"]));
    assert!(stream.receive(&resources).is_empty());
    publish(&mut resources, CLUSTER, &["a=2", "never=1"]);
    assert!(stream.receive(&resources).is_empty());
}

#[test]
fn line_20_under_a_wildcard_an_unsubscription_is_answered() {
    let mut resources = published(CLUSTER, &["a=1", "b=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["*", "a", "gone"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1 b=1", "Cluster: -gone"]);
    stream.send(unsubscribe(CLUSTER, &["a", "gone"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1", "Cluster: -gone"]);
    stream.send(unsubscribe(CLUSTER, &["*"]));
    publish(&mut resources, CLUSTER, &["a=2", "b=2"]);
    assert!(stream.receive(&resources).is_empty(), "nothing is subscribed to any more");
}

#[test]
fn line_08_without_the_wildcard_what_is_named_stays() {
    let mut resources = published(CLUSTER, &["a=1", "b=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["*", "a"]));
    stream.receive(&resources);
    stream.send(unsubscribe(CLUSTER, &["*"]));
    publish(&mut resources, CLUSTER, &["a=2", "b=2"]);
    assert_eq!(stream.receive(&resources), ["Cluster: a=2"]);
}

#[test]
fn line_21_a_subscription_counts_on_a_request_with_a_stale_nonce() {
    let resources = published(CLUSTER, &["a=1", "b=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["a"]));
    stream.receive(&resources);
    let mut request = subscribe(CLUSTER, &["b"]);
    request.response_nonce = "of another stream".into();
    stream.send(request);
    assert_eq!(stream.receive(&resources), ["Cluster: b=1"]);
}

#[test]
fn line_22_versions_of_an_earlier_stream_count_for_their_type() {
    let mut resources = published(CLUSTER, &["same=1", "changed=2", "new=1"]);
    publish(&mut resources, ASSIGNMENT, &["same=1"]);
    let mut stream = Delta::default();
    stream.send(resume(CLUSTER, &[], &["same=1", "changed=1", "removed=1"]));
    stream.send(subscribe(ASSIGNMENT, &["same"]));
    assert_eq!(
        stream.receive(&resources),
        ["Cluster: changed=2 new=1", "ClusterLoadAssignment: same=1", "Cluster: -removed"]
    );
}

#[test]
fn versions_of_another_kind_of_server_are_all_replaced() {
    let resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    let mut request = subscribe(CLUSTER, &[]);
    request.initial_resource_versions.insert("a".into(), "2026-11-01/7".into());
    stream.send(request);
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
}

#[test]
fn a_wildcard_without_resources_is_answered_once() {
    let mut resources = Resources::default();
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    assert_eq!(stream.receive(&resources), ["Cluster:"], "an Envoy starts only then");
    publish(&mut resources, ASSIGNMENT, &["a=1"]);
    assert!(stream.receive(&resources).is_empty());
}

#[test]
fn line_01_a_rejection_names_what_was_in_the_response_and_nothing_is_sent_until_a_change() {
    let mut resources = published(CLUSTER, &["a=bad"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    let response = stream.0.next(&resources, NOW).unwrap();
    let rejection = rejected(&mut stream, nack(&response, "a: no such policy"));
    assert_eq!(rejection.names, ["a".into()]);
    assert_eq!(rejection.message, "a: no such policy");
    assert_eq!(stream.0.next(&resources, NOW), None, "no hot loop");
    let last = |stream: &Delta| stream.0.status().next().unwrap().1.rejected;
    assert_eq!(last(&stream), Some(rejection));
    publish(&mut resources, CLUSTER, &["a=good"]);
    assert_eq!(stream.receive(&resources), ["Cluster: a=good"]);
    assert_eq!(last(&stream), None);
}

#[test]
fn a_rejection_of_an_earlier_response_is_told_apart_from_the_next() {
    let mut resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    let first = stream.0.next(&resources, NOW).unwrap();
    publish(&mut resources, CLUSTER, &["b=1"]);
    let second = stream.0.next(&resources, NOW).unwrap();
    stream.send(ack(&second));
    let rejection = rejected(&mut stream, nack(&first, "bad"));
    assert_eq!(rejection.names, ["a".into()]);
}

#[test]
fn who_never_answers_gets_some_responses_of_a_type_and_then_the_latest_at_once() {
    let mut resources = Resources::default();
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["a"]));
    stream.send(subscribe(ASSIGNMENT, &["a"]));
    let mut responses = Vec::new();
    for n in 0..100 {
        publish(&mut resources, CLUSTER, &[&format!("a={n}")]);
        responses.extend(stream.0.next(&resources, NOW).filter(|one| one.type_url == CLUSTER));
    }
    assert_eq!(responses.len(), limits::MOST_UNANSWERED);
    publish(&mut resources, ASSIGNMENT, &["a=1"]);
    let other = stream.0.next(&resources, NOW).unwrap();
    assert!(delta_text(&other).starts_with("ClusterLoadAssignment:"), "other types go on");
    stream.send(ack(&responses[0]));
    let latest = stream.0.next(&resources, NOW).map(|response| delta_text(&response));
    assert_eq!(latest.as_deref(), Some("Cluster: a=99"));
}

#[test]
fn many_resources_come_in_responses_that_grpc_clients_take() {
    let mut resources = Resources::default();
    let body = "x".repeat(100_000);
    for n in 0..50 {
        resources.set(CLUSTER, Resource::new(format!("c{n:02}"), body.clone()));
    }
    resources.set(CLUSTER, Resource::new("large", "x".repeat(3_000_000)));
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    let (mut names, mut responses) = (Vec::new(), 0);
    while let Some(response) = stream.0.next(&resources, NOW) {
        stream.send(ack(&response));
        let bytes = response.resources.iter().map(|one| one.resource.as_ref().unwrap().value.len());
        assert!(bytes.sum::<usize>() <= limits::RESPONSE_BYTES || response.resources.len() == 1);
        names.extend(response.resources.into_iter().map(|sent| sent.name));
        responses += 1;
    }
    assert_eq!((names.len(), responses), (51, 6));
    names.dedup();
    assert_eq!(names.len(), 51, "each once");
}

#[test]
fn who_asks_for_too_much_is_told_so() {
    let mut stream = Delta::default();
    let many: Vec<String> = (0..limits::MOST_NAMES).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stream.send(subscribe(CLUSTER, &many));
    stream.send(subscribe(CLUSTER, &["0"]));
    let error = stream.0.request(subscribe(CLUSTER, &["one more"])).unwrap_err();
    assert_eq!(error, RequestError::TooManyNames(limits::MOST_NAMES));
    assert_eq!(
        error.to_string(),
        "a stream may subscribe to 20000 resources of this type, and no more"
    );
    let long = "é".repeat(limits::LONGEST_NAME);
    let error = stream.0.request(subscribe(CLUSTER, &[&long])).unwrap_err();
    assert!(matches!(error, RequestError::LongName(ref name) if name.len() == 64), "{error}");
    for wrong in ["", &"t".repeat(limits::LONGEST_TYPE_URL + 1)] {
        let error = stream.0.request(subscribe(wrong, &[])).unwrap_err();
        assert!(matches!(error, RequestError::WrongTypeUrl(_)), "{error}");
    }
    for n in 1..limits::MOST_TYPES {
        stream.send(subscribe(&n.to_string(), &[]));
    }
    assert_eq!(
        stream.0.request(subscribe("one more", &[])).unwrap_err(),
        RequestError::TooManyTypes
    );
}

#[test]
fn versions_of_names_that_are_not_subscribed_to_are_not_kept() {
    let resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(resume(CLUSTER, &["a"], &["a=1", "b=1", "c=1"]));
    assert!(stream.receive(&resources).is_empty());
    assert_eq!(stream.0.status().next().unwrap().1.held, 1);
}

#[test]
fn what_a_client_gives_up_before_it_was_sent_is_not_kept() {
    let mut resources = published("t", &["exists=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe("t", &[]));
    // Eight responses that the client never answers: nothing more is sent.
    for n in 0..limits::MOST_UNANSWERED {
        publish(&mut resources, "t", &[&format!("exists={n}")]);
        stream.0.next(&resources, NOW).expect("a response");
    }
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..10 {
        stream.send(subscribe("t", &names));
        stream.send(unsubscribe("t", &names));
        assert_eq!(stream.0.next(&resources, NOW), None);
    }
    assert!(format!("{:?}", stream.0).len() < 5000, "{:?}", stream.0);
    publish(&mut resources, "t", &["n1=1"]);
    assert_eq!(stream.0.next(&resources, NOW), None);
}

#[test]
fn a_name_that_the_wildcard_covers_comes_although_it_was_given_up_unsent() {
    let resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["*", "a"]));
    stream.send(unsubscribe(CLUSTER, &["a"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
}

#[test]
fn what_the_wildcard_wanted_is_not_sent_once_it_is_given_up() {
    let resources = published(CLUSTER, &["a=1", "b=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &["*", "a"]));
    stream.send(unsubscribe(CLUSTER, &["*"]));
    assert_eq!(stream.receive(&resources), ["Cluster: a=1"]);
}

#[test]
fn a_wildcard_that_comes_and_goes_gets_no_endless_answers() {
    let resources = Resources::default();
    let mut stream = Delta::default();
    let mut responses = 0;
    for _ in 0..100 {
        stream.send(subscribe(CLUSTER, &["*"]));
        responses += usize::from(stream.0.next(&resources, NOW).is_some());
        stream.send(unsubscribe(CLUSTER, &["*"]));
    }
    assert_eq!(responses, limits::MOST_UNANSWERED);
}

#[test]
fn a_version_of_a_name_that_is_too_long_is_not_kept() {
    let resources = Resources::default();
    let mut stream = Delta::default();
    let mut request = subscribe(CLUSTER, &[]);
    request.initial_resource_versions.insert("n".repeat(limits::LONGEST_NAME + 1), "1".into());
    stream.send(request);
    assert_eq!(stream.0.names(), 0);
    assert_eq!(stream.receive(&resources), ["Cluster:"]);
}

#[test]
fn a_rejection_keeps_the_first_names_of_a_large_response() {
    let resources =
        published(CLUSTER, &["a=1", "b=1", "c=1", "d=1", "e=1", "f=1", "g=1", "h=1", "i=1"]);
    let mut stream = Delta::default();
    stream.send(subscribe(CLUSTER, &[]));
    let response = stream.0.next(&resources, NOW).unwrap();
    let rejection = rejected(&mut stream, nack(&response, "bad"));
    assert_eq!(rejection.names.len(), limits::NAMED_IN_REJECTION);
}

#[test]
fn an_answer_says_when_its_response_was_sent() {
    let at = Duration::from_secs;
    let mut resources = published(CLUSTER, &["a=1"]);
    let mut stream = Delta::default();
    assert_eq!(stream.0.request(subscribe(CLUSTER, &[])), Ok(None));
    let first = stream.0.next(&resources, at(1)).unwrap();
    publish(&mut resources, CLUSTER, &["a=2"]);
    let second = stream.0.next(&resources, at(2)).unwrap();
    let waiting = |stream: &Delta| {
        let (_, status) = stream.0.status().next().unwrap();
        assert_eq!(stream.0.unanswered(), status.unanswered);
        (status.unanswered, status.unanswered_since)
    };
    assert_eq!(waiting(&stream), (2, Some(at(1))));
    let accepted = |sent| Ok(Some(Answer { sent, rejection: None }));
    assert_eq!(stream.0.request(ack(&first)), accepted(at(1)));
    assert_eq!(waiting(&stream), (1, Some(at(2))));
    assert_eq!(stream.0.request(ack(&first)), Ok(None), "it was answered");
    let answer = stream.0.request(nack(&second, "bad")).unwrap().unwrap();
    assert!(answer.sent == at(2) && answer.rejection.is_some());
    assert_eq!(waiting(&stream), (0, None));
}
