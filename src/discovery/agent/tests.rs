use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::{collection::vec, option, prelude::*};
use xds::{
    Resource,
    proto::google::protobuf::Any,
    resource_type::{ASSIGNMENT, CLUSTER},
};

use super::{read, write};
use crate::{
    catalog::{
        Endpoint, Health, Hints, NodeScope, Port, PreviousValue, Service, Setting, SettingError,
        sample::endpoint,
    },
    discovery::{names, proto::NAMESPACE},
};

fn packed(type_url: &str, resource: &Resource) -> Any {
    Any { type_url: type_url.to_owned(), value: resource.body.clone() }
}

fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    let word = || option::of("[a-c]").prop_map(|word| word.map(Arc::<str>::from));
    let words = || vec("[a-c]".prop_map(Arc::<str>::from), 0..3);
    let health = prop_oneof![Just(Health::Ready), Just(Health::Draining), Just(Health::Unready)];
    let place = (word(), word(), word(), any::<bool>());
    let facts = (word(), words(), words(), any::<u64>(), vec(("[a-c]", "[a-c]{0,2}"), 0..3));
    ((1..250u8, any::<u32>(), health, 0..=128u8), place, facts, option::of(1..u64::from(u32::MAX)))
        .prop_map(
            |((last, weight, health, priority), (region, zone, node, braked), facts, ready)| {
                let (server_name, zones, nodes, pod, labels) = facts;
                let hints = Hints { zones, nodes };
                Endpoint {
                    region,
                    zone,
                    node,
                    weight,
                    health,
                    labels: Arc::new(
                        labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
                    ),
                    ready_since: ready.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)),
                    server_name,
                    priority,
                    braked,
                    hints: (hints != Hints::default()).then(|| Arc::new(hints)),
                    pod: NonZeroU64::new(pod),
                    ..endpoint(last)
                }
            },
        )
}

proptest! {
    #[test]
    fn an_assignment_is_read_as_it_was_written_in_whatever_order(
        mut endpoints in vec(some_endpoint(), 0..20)
    ) {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let resource = write::assignment("cart.shop:80", &endpoints);
        let mut back = read::assignment("cart.shop:80", &packed(ASSIGNMENT, &resource)).unwrap();
        back.sort_by_key(|endpoint| endpoint.address);
        prop_assert_eq!(&back, &endpoints);
        endpoints.reverse();
        prop_assert_eq!(write::assignment("cart.shop:80", &endpoints), resource);
    }
}

fn cart() -> Service {
    let port = |name: &str, number| Port {
        name: Some(name.into()),
        number: Some(number),
        endpoints: [endpoint(1)].into(),
    };
    let ports = vec![port("http", 80), port("admin", 9000)];
    Service::new("cart.shop@east".parse().unwrap(), "file a.yaml", ports)
}

#[test]
fn services_of_a_namespace_share_its_name_and_the_names_of_their_ports() {
    let service = |name: &str| {
        let number = Some(80);
        let endpoints = [endpoint(1)].into();
        let port = Port { name: Some("grpc".into()), number, endpoints };
        Service::new(name.parse().unwrap(), "test", vec![port])
    };
    let named = ["cart.shop", "users.shop"].map(service).map(|service| {
        let clusters = names::clusters(&service);
        write::named(&service, &clusters)
    });
    let resource = write::namespace("shop", named.into_iter());
    let back = read::namespace("shop", &packed(NAMESPACE, &resource)).unwrap();
    let [cart, users] = &back[..] else { panic!("{back:?}") };
    assert!(Arc::ptr_eq(&cart.service.namespace, &users.service.namespace));
    let port_name = |named: &read::Named| named.ports[0].name.clone().unwrap();
    assert!(Arc::ptr_eq(&port_name(cart), &port_name(users)));
}

#[test]
fn a_namespace_names_services_with_ports_and_their_clusters() {
    let cart = cart();
    let clusters = names::clusters(&cart);
    let named = [write::named(&cart, &clusters)];
    let resource = write::namespace("shop@east", named.into_iter());
    let back = read::namespace("shop@east", &packed(NAMESPACE, &resource)).unwrap();
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].service, cart.name);
    let ports: Vec<_> = back[0].ports.iter().map(|port| (&port.name, port.number)).collect();
    assert_eq!(ports, [(&Some("http".into()), Some(80)), (&Some("admin".into()), Some(9000))]);
    assert_eq!(*back[0].ports[0].cluster, *"cart.shop@east:80");
}

#[test]
fn a_cluster_has_the_facts_of_its_service() {
    let wrong =
        SettingError { why: "it is wrong".into(), before: PreviousValue::Value("prefer".into()) };
    let unset = SettingError { why: "it is wrong".into(), before: PreviousValue::Unset };
    let mut cart = cart();
    cart.settings = vec![
        Setting { implied: true, ..Setting::new("virtual_ip", "10.0.0.9", "clusterIP") },
        Setting::new("mode", "shadow", "annotation pointsman.dev/mode"),
        Setting { wrong: Some(Box::new(wrong)), ..Setting::new("zone", "?", "annotation") },
        Setting { wrong: Some(Box::new(unset)), ..Setting::new("panic", "?", "annotation") },
    ];
    cart.notes = vec!["a note".to_owned()];
    cart.uid = Some("7".into());
    cart.stale = true;
    cart.eligibility.nodes = NodeScope::OwnNode;
    let resource = write::cluster("cart.shop@east:80", &cart, 1);
    let info = read::cluster("cart.shop@east:80", &packed(CLUSTER, &resource)).unwrap();
    assert_eq!(*info.assignment, *"cart.shop@east:80");
    let facts = info.facts.unwrap();
    assert_eq!(facts.source, "file a.yaml");
    let mut back = Service::new(cart.name.clone(), cart.source.clone(), cart.ports.clone());
    read::apply(&facts, &mut back);
    assert_eq!(back, Service { source_brakes: true, ..cart });
}

#[test]
fn a_setting_that_only_a_newer_control_plane_knows_is_marked() {
    let mut cart = cart();
    cart.settings = vec![Setting::new("gravity", "9.81", "annotation")];
    let resource = write::cluster("c", &cart, 1);
    let facts = read::cluster("c", &packed(CLUSTER, &resource)).unwrap().facts.unwrap();
    read::apply(&facts, &mut cart);
    assert!(cart.settings[0].wrong.is_some());
}

#[test]
fn what_is_wrong_is_named() {
    let assignment = write::assignment("a", &[endpoint(1)]);
    let wrong = read::assignment("b", &packed(ASSIGNMENT, &assignment)).unwrap_err();
    assert_eq!(wrong, "its body is the assignment of \"a\"");
    let cluster = write::cluster("a", &cart(), 1);
    let wrong = read::cluster("b", &packed(CLUSTER, &cluster)).unwrap_err();
    assert_eq!(wrong, "its body is the cluster \"a\"");
    let cut = Any { value: cluster.body.slice(..cluster.body.len() - 1), ..Any::default() };
    assert!(read::cluster("a", &cut).unwrap_err().starts_with("it can't be read: "));
    let clusters = [String::new(), String::new()];
    let named = [write::named(&cart(), &clusters)];
    let namespace = write::namespace("shop", named.into_iter());
    let wrong = read::namespace("shop", &packed(NAMESPACE, &namespace)).unwrap_err();
    assert_eq!(wrong, "service cart.shop: a port has no cluster");
    let wrong = read::namespace("Shop!", &packed(NAMESPACE, &namespace)).unwrap_err();
    assert!(wrong.starts_with("service \"cart\": "), "{wrong}");
}
