//! What endpoints take from Pods and Nodes.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::json;

use super::{super::facts::pod::PodReader, tests::object, *};
use crate::catalog::Endpoint;

/// An update of any watch.
#[derive(Clone, Debug)]
enum Event {
    Services(Vec<core::Service>),
    Slices(Vec<discovery::EndpointSlice>),
    /// Each with its number, the value of its label `shard`, and since when it is ready.
    Pods(Vec<(u8, &'static str, Option<u64>)>),
    Pod(u8, &'static str, Option<u64>),
    PodGone(u8),
    /// Each with its zone.
    Nodes(Vec<(&'static str, &'static str)>),
    Node(&'static str, &'static str),
    NodeGone(&'static str),
}

impl Event {
    fn apply(self, cache: &mut ObjectCache) -> Touched {
        let pods = |pods: Vec<(u8, &str, Option<u64>)>| pods.into_iter().map(pod).collect();
        let nodes =
            |nodes: Vec<_>| nodes.into_iter().map(|(name, zone)| node(name, zone)).collect();
        match self {
            Self::Services(services) => cache.update_service(Update::Listed(services)),
            Self::Slices(slices) => cache.update_slice(Update::Listed(slices)),
            Self::Pods(listed) => cache.update_pod(Update::Listed(pods(listed))),
            Self::Pod(n, shard, ready) => {
                cache.update_pod(Update::Applied(Box::new(pod((n, shard, ready)))))
            }
            Self::PodGone(n) => cache.update_pod(Update::Deleted(Box::new(pod((n, "", None))))),
            Self::Nodes(listed) => cache.update_node(Update::Listed(nodes(listed))),
            Self::Node(name, zone) => {
                cache.update_node(Update::Applied(Box::new(node(name, zone))))
            }
            Self::NodeGone(name) => cache.update_node(Update::Deleted(Box::new(node(name, "")))),
        }
    }
}

fn service(name: &str, labels: &str) -> core::Service {
    object(
        name,
        json!({
            "metadata": { "annotations": { "pointsman.dev/pod-labels": labels } },
            "spec": { "ports": [{ "name": "http", "port": 80 }] }
        }),
    )
}

/// A slice with these pods, each with its node, its zone, and whether it is ready.
fn slice(of: &str, pods: &[(u8, &str, Option<&str>, bool)]) -> discovery::EndpointSlice {
    let endpoint = |(n, node, zone, ready): &(u8, &str, Option<&str>, bool)| {
        json!({
            "addresses": [format!("10.0.0.{n}")],
            "conditions": { "ready": ready },
            "nodeName": node, "zone": zone,
            "targetRef": { "kind": "Pod", "name": format!("pod-{n}"), "uid": format!("uid-{n}") }
        })
    };
    let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
    let fields = json!({
        "metadata": { "labels": { "kubernetes.io/service-name": of } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints
    });
    object(&format!("{of}-1"), fields)
}

fn pod((n, shard, ready): (u8, &str, Option<u64>)) -> PodFacts {
    let keys = ["shard", "version"].map(Arc::from).into();
    let wanted = WantedLabels([("shop".into(), keys)].into());
    let time = humantime::format_rfc3339(at(ready.unwrap_or_default())).to_string();
    let status = if ready.is_some() { "True" } else { "False" };
    let fields = json!({
        "metadata": {
            "uid": format!("uid-{n}"),
            "labels": { "shard": shard, "version": "b", "app": "cart" }
        },
        "status": { "conditions": [
            { "type": "Ready", "status": status, "lastTransitionTime": time }
        ] }
    });
    PodReader::new(wanted.into()).read(object(&format!("pod-{n}"), fields))
}

fn node(name: &str, zone: &str) -> NodeFacts {
    let labels = json!({
        "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "north"
    });
    NodeFacts::of(object(name, json!({ "metadata": { "labels": labels } })))
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn endpoints(cache: &ObjectCache, name: &str) -> Vec<Endpoint> {
    let service = cache.service(&name.parse().unwrap(), &"test".into()).unwrap();
    service.ports[0].endpoints.to_vec()
}

/// Zone, region, labels and ready time of an endpoint.
fn facts(endpoint: &Endpoint) -> (String, String, String, Option<SystemTime>) {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let labels: Vec<_> =
        endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (text(&endpoint.zone), text(&endpoint.region), labels.join(","), endpoint.ready_since)
}

/// `cart` names the label shard and has the pods 1 and 2, `users` names none and has pod 3.
fn shop() -> ObjectCache {
    let mut cache = ObjectCache::with_facts();
    for event in first_events() {
        event.apply(&mut cache);
    }
    cache
}

fn first_events() -> [Event; 4] {
    let cart = slice("cart", &[(1, "node-a", Some("a"), true), (2, "node-b", None, true)]);
    [
        Event::Services(vec![service("cart", "shard"), service("users", "")]),
        Event::Slices(vec![cart, slice("users", &[(3, "node-b", None, false)])]),
        Event::Pods(vec![(1, "x", Some(10)), (2, "y", None), (3, "x", Some(30))]),
        Event::Nodes(vec![("node-a", "other"), ("node-b", "b")]),
    ]
}

fn names(touched: Touched) -> Vec<String> {
    let touched: BTreeSet<String> = touched.iter().map(ToString::to_string).collect();
    touched.into_iter().collect()
}

#[test]
fn endpoints_take_labels_and_ready_time_from_their_pod_and_their_place_from_its_node() {
    let cache = shop();
    let cart: Vec<_> = endpoints(&cache, "cart.shop").iter().map(facts).collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        cart,
        [
            // The zone of the slice comes first.
            (text("a"), text("north"), text("shard=x"), Some(at(10))),
            (text("b"), text("north"), text("shard=y"), None),
        ]
    );
    let users = facts(&endpoints(&cache, "users.shop")[0]);
    assert_eq!(users, (text("b"), text("north"), String::new(), None), "it is not ready");
}

#[test]
fn a_change_of_a_pod_or_node_touches_the_services_that_use_it_and_no_others() {
    let mut cache = shop();
    let mut touched = |event: Event| names(event.apply(&mut cache));
    assert_eq!(touched(Event::Pod(1, "z", Some(10))), ["cart.shop"]);
    assert!(touched(Event::Pod(1, "z", Some(10))).is_empty(), "nothing that is kept differs");
    assert!(touched(Event::Pod(9, "z", Some(10))).is_empty(), "no slice has it");
    assert_eq!(touched(Event::Node("node-a", "c")), ["cart.shop"]);
    assert_eq!(touched(Event::Node("node-b", "c")), ["cart.shop", "users.shop"]);
    assert!(touched(Event::Node("node-b", "c")).is_empty());
    let pods = vec![(1, "z", Some(10)), (2, "new", None), (3, "x", Some(30))];
    assert_eq!(touched(Event::Pods(pods)), ["cart.shop"]);
    assert_eq!(touched(Event::Nodes(vec![("node-a", "c"), ("node-b", "d")])).len(), 2);
    let one = slice("cart", &[(2, "node-b", None, true)]);
    touched(Event::Slices(vec![one, slice("users", &[(3, "node-b", None, false)])]));
    assert!(touched(Event::Pod(1, "x", Some(10))).is_empty(), "its endpoint is gone");
}

#[test]
fn what_a_pod_or_node_that_is_gone_said_counts_until_its_slice_drops_the_endpoint() {
    let mut cache = shop();
    let before = endpoints(&cache, "cart.shop");
    for gone in
        [Event::PodGone(1), Event::NodeGone("node-a"), Event::Pods(vec![]), Event::Nodes(vec![])]
    {
        assert!(gone.apply(&mut cache).is_empty());
    }
    assert_eq!(endpoints(&cache, "cart.shop"), before);
    Event::Slices(vec![]).apply(&mut cache);
    first_events()[1].clone().apply(&mut cache);
    let nothing = (String::new(), String::new(), String::new(), None);
    assert_eq!(facts(&endpoints(&cache, "cart.shop")[1]), nothing);
}

#[test]
fn a_pod_that_says_unready_before_its_slice_does_changes_nothing() {
    let mut cache = shop();
    assert!(Event::Pod(1, "x", None).apply(&mut cache).is_empty());
    assert_eq!(endpoints(&cache, "cart.shop")[0].ready_since, Some(at(10)));
    let unready = slice("cart", &[(1, "node-a", None, false)]);
    cache.update_slice(Update::Applied(Box::new(unready)));
    assert_eq!(endpoints(&cache, "cart.shop")[0].ready_since, None);
    Event::Pod(1, "x", Some(20)).apply(&mut cache);
    let ready = slice("cart", &[(1, "node-a", None, true)]);
    cache.update_slice(Update::Applied(Box::new(ready)));
    assert_eq!(endpoints(&cache, "cart.shop")[0].ready_since, Some(at(20)));
}

#[test]
fn all_four_are_listed_before_services_are_told_or_the_api_server_refuses_them() {
    let refused = |cache: &mut ObjectCache| {
        cache.update_pod(Update::Refused("403".into()));
        cache.update_node(Update::Refused("403".into()));
    };
    for (left_out, missing) in
        [(0, "its Service"), (1, "its EndpointSlices"), (2, "its Pods"), (3, "its Nodes")]
    {
        let mut cache = ObjectCache::with_facts();
        for (n, event) in first_events().into_iter().enumerate() {
            if n != left_out {
                event.apply(&mut cache);
            }
        }
        assert!(!cache.complete());
        assert_eq!(cache.missing(), missing);
        cache.update_pod(Update::Interrupted("away".into()));
        cache.update_node(Update::Interrupted("away".into()));
        assert!(!cache.complete());
        refused(&mut cache);
        assert_eq!(cache.complete(), left_out >= 2);
    }
    let mut cache = shop();
    refused(&mut cache);
    assert_eq!(endpoints(&cache, "cart.shop")[0].ready_since, Some(at(10)), "the last is kept");
}

#[test]
fn labels_that_services_name_are_asked_for_once_all_services_are_known_and_when_there_are_more() {
    let mut cache = ObjectCache::with_facts();
    cache.update_service(Update::Applied(Box::new(service("pay", "version"))));
    assert_eq!(cache.more_labels(), None);
    cache.update_service(Update::Listed(vec![service("cart", "shard"), service("users", "")]));
    let wanted = |keys: &[&str]| {
        let keys: BTreeSet<Arc<str>> = keys.iter().map(|key| Arc::from(*key)).collect();
        let named = (!keys.is_empty()).then(|| ("shop".into(), keys));
        Some(WantedLabels(named.into_iter().collect()))
    };
    assert_eq!(cache.more_labels(), wanted(&["shard"]));
    let mut more = |name: &str, labels: &str| {
        cache.update_service(Update::Applied(Box::new(service(name, labels))));
        cache.more_labels()
    };
    assert_eq!(more("cart", "shard"), None);
    assert_eq!(more("users", "shard"), None);
    assert_eq!(more("users", "version,shard"), wanted(&["shard", "version"]));
    assert_eq!(more("users", ""), None);
    assert_eq!(more("cart", ""), None);
    assert_eq!(more("cart", "app"), wanted(&["app"]), "others are no longer named");
    cache.update_service(Update::Deleted(Box::new(service("cart", "app"))));
    assert!(cache.wanted_labels.named.is_empty());

    let mut none = ObjectCache::with_facts();
    none.update_service(Update::Listed(vec![]));
    assert_eq!(none.more_labels(), wanted(&[]), "then it is known that there are none");
    assert_eq!(none.more_labels(), None);
}

/// Objects of every kind, each in its first or in its last state.
fn any_event() -> impl Strategy<Value = Event> {
    let slices = |second: bool| {
        let cart = [(1, "node-a", Some("a"), true), (2, "node-b", None, second)];
        let users: &[_] = if second { &[(3, "node-b", None, true)] } else { &[] };
        Event::Slices(vec![slice("cart", &cart), slice("users", users)])
    };
    let services = |labels: &'static str| {
        Event::Services(vec![service("cart", labels), service("users", "version")])
    };
    let ready = prop_oneof![Just(None), Just(Some(10)), Just(Some(20))];
    let shard = prop_oneof![Just("x"), Just("y")];
    let zone = prop_oneof![Just("b"), Just("c")];
    let name = prop_oneof![Just("node-a"), Just("node-b")];
    prop_oneof![
        any::<bool>().prop_map(slices),
        prop_oneof![Just(""), Just("shard"), Just("shard,version")].prop_map(services),
        (1..4_u8, shard, ready).prop_map(|(n, shard, ready)| Event::Pod(n, shard, ready)),
        (1..4_u8).prop_map(Event::PodGone),
        (name.clone(), zone).prop_map(|(name, zone)| Event::Node(name, zone)),
        name.prop_map(Event::NodeGone),
    ]
}

proptest! {
    /// Who makes anew the touched services only has what it would have if it made all anew.
    #[test]
    fn in_any_order_every_service_that_changes_is_touched(
        events in prop::collection::vec(any_event(), 1..40)
    ) {
        let mut cache = shop();
        let all = ["cart.shop", "users.shop"];
        let now = |cache: &ObjectCache| all.map(|name| endpoints(cache, name));
        let mut known = now(&cache);
        for event in events {
            let touched = names(event.clone().apply(&mut cache));
            for ((name, known), now) in all.iter().zip(&mut known).zip(now(&cache)) {
                prop_assert!(*known == now || touched.iter().any(|it| it == name), "{event:?}");
                *known = now;
            }
        }
    }

    /// The last state of each object counts, in whatever order their last events came.
    #[test]
    fn the_last_events_may_come_in_any_order(
        before in prop::collection::vec(any_event(), 0..20),
        last in Just(last_events()).prop_shuffle()
    ) {
        let mut cache = ObjectCache::with_facts();
        for event in before.into_iter().chain(last) {
            event.apply(&mut cache);
        }
        prop_assert!(cache.complete());
        let mut expected = ObjectCache::with_facts();
        for event in last_events() {
            event.apply(&mut expected);
        }
        for name in ["cart.shop", "users.shop"] {
            prop_assert_eq!(endpoints(&cache, name), endpoints(&expected, name));
        }
    }
}

/// As [`first_events`], but each pod is ready, since an unready one keeps the ready time that it had.
fn last_events() -> Vec<Event> {
    let [services, slices, _, nodes] = first_events();
    let pods = Event::Pods(vec![(1, "x", Some(10)), (2, "y", Some(20)), (3, "x", Some(30))]);
    vec![services, slices, pods, nodes]
}
