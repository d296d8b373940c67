//! What a consumer of EndpointSlices must handle, by the line in docs/kubernetes.md.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::SliceUnion;
use crate::{
    catalog::{
        Catalog, Change, Endpoint, Health, NodeScope, Service, ServiceName, SourceId,
        hints::preferred,
    },
    source::{
        manifests::{endpoint_slice::Slice, service::KubeService},
        yaml::document,
    },
};

pub(super) const ONE_PORT: &str = "[{name: http, port: 8080}]";

/// A slice of `cart.shop`; endpoints as in YAML's flow style.
pub(super) fn slice_of(
    service: &str,
    name: &str,
    family: &str,
    ports: &str,
    endpoints: &[&str],
) -> Option<Slice> {
    let label = match service {
        "" => "{}".to_owned(),
        service => format!("{{kubernetes.io/service-name: {service}}}"),
    };
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {label}}}\n\
         addressType: {family}\nports: {ports}\nendpoints: [{}]\n",
        endpoints.join(", ")
    );
    Slice::of(document::read(&"slice.yaml".into(), &text).unwrap()).unwrap()
}

pub(super) fn slice(name: &str, endpoints: &[&str]) -> Slice {
    slice_of("cart", name, "IPv4", ONE_PORT, endpoints).unwrap()
}

/// The Service `cart.shop` with this spec.
pub(super) fn cart_of(spec: &str) -> KubeService {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: cart, namespace: shop}}\n\
         spec: {{{spec}}}\n"
    );
    KubeService::of(document::read(&"service.yaml".into(), &text).unwrap()).unwrap()
}

/// The Service `cart.shop`, with more fields of its spec.
pub(super) fn cart_with(spec: &str) -> KubeService {
    cart_of(&format!("ports: [{{name: http, port: 80, targetPort: web}}]{spec}"))
}

pub(super) fn cart() -> KubeService {
    cart_with("")
}

pub(super) fn name() -> ServiceName {
    "cart.shop".parse().unwrap()
}

pub(super) fn join(
    service: impl Into<Option<KubeService>>,
    slices: impl IntoIterator<Item = Slice>,
) -> SliceUnion {
    let mut join = SliceUnion::default();
    if let Some(service) = service.into() {
        join.put_service(service);
    }
    for slice in slices {
        join.put_slice(slice);
    }
    join
}

pub(super) fn service(join: &SliceUnion) -> Service {
    join.service(&name(), &"test".into()).unwrap().with_eligible_endpoints()
}

/// The addresses and health at the first port.
pub(super) fn served(join: &SliceUnion) -> BTreeMap<String, Health> {
    let endpoints = service(join).ports[0].endpoints.clone();
    assert_eq!(
        endpoints.len(),
        endpoints.iter().map(|e| e.address).collect::<std::collections::HashSet<_>>().len()
    );
    endpoints.iter().map(|e| (e.address.to_string(), e.health)).collect()
}

pub(super) fn addresses(join: &SliceUnion) -> Vec<String> {
    served(join).into_keys().collect()
}

#[test]
fn line_01_all_slices_of_a_service_are_joined() {
    let join = join(
        cart(),
        [
            slice("cart-1", &["{addresses: [10.0.0.1]}"]),
            slice("cart-2", &["{addresses: [10.0.0.2]}"]),
            slice_of("users", "users-1", "IPv4", ONE_PORT, &["{addresses: [10.0.0.9]}"]).unwrap(),
        ],
    );
    assert_eq!(addresses(&join), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(join.names().len(), 2);
}

#[test]
fn line_02_an_endpoint_that_moves_between_slices_is_there_once_all_the_time() {
    let mut join = join(cart(), [slice("cart-1", &["{addresses: [10.0.0.1]}"])]);
    join.put_slice(slice("cart-2", &["{addresses: [10.0.0.1]}"]));
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
    join.put_slice(slice("cart-1", &[]));
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
    join.remove_slice("shop", "cart-1");
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
}

#[test]
fn line_03_one_address_with_two_ports_is_two_endpoints() {
    let other = "[{name: http, port: 9090}]";
    let join = join(
        cart(),
        [
            slice("cart-1", &["{addresses: [10.0.0.1]}"]),
            slice_of("cart", "cart-2", "IPv4", other, &["{addresses: [10.0.0.1]}"]).unwrap(),
        ],
    );
    assert_eq!(addresses(&join), ["10.0.0.1:8080", "10.0.0.1:9090"]);
}

#[test]
fn line_03_one_number_of_two_protocols_is_two_ports() {
    let ports = "[{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]";
    let dns = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\n\
               spec: {ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]}\n";
    let dns = KubeService::of(document::read(&"s.yaml".into(), dns).unwrap()).unwrap();
    let slices = [slice_of("cart", "c-1", "IPv4", ports, &["{addresses: [10.0.0.1]}"]).unwrap()];
    let service = service(&join(dns, slices));
    let names: Vec<_> = service.ports.iter().map(|port| port.name.as_deref()).collect();
    // A number means TCP.
    assert_eq!(names, [Some("dns-tcp"), Some("dns")]);
    assert!(service.ports.iter().all(|port| port.endpoints.len() == 1));
}

#[test]
fn line_04_of_duplicates_that_disagree_the_healthiest_counts_in_any_order() {
    let stale = "{addresses: [10.0.0.1], conditions: {ready: false}}";
    let fresh = "{addresses: [10.0.0.1], conditions: {ready: true}, zone: a}";
    for slices in [
        [slice("cart-1", &[stale]), slice("cart-2", &[fresh])],
        [slice("cart-2", &[fresh]), slice("cart-1", &[stale])],
        [slice("cart-1", &[fresh]), slice("cart-2", &[stale])],
    ] {
        let join = join(cart(), slices);
        assert_eq!(served(&join)["10.0.0.1:8080"], Health::Ready);
        assert_eq!(service(&join).ports[0].endpoints[0].zone.as_deref(), Some("a"));
    }
}

#[test]
fn line_05_unset_conditions_mean_ready_and_serving_and_not_terminating() {
    let join = join(
        cart(),
        [slice(
            "cart-1",
            &[
                "{addresses: [10.0.0.1]}",
                "{addresses: [10.0.0.2], conditions: {}}",
                "{addresses: [10.0.0.3], conditions: {ready: null, serving: null}}",
                "{addresses: [10.0.0.4], conditions: {terminating: true}}",
                "{addresses: [10.0.0.5], conditions: {ready: false, terminating: true}}",
                "{addresses: [10.0.0.6], conditions: {ready: false}}",
            ],
        )],
    );
    let healths: Vec<Health> = served(&join).into_values().collect();
    use Health::{Draining, Ready, Unready};
    assert_eq!(healths, [Ready, Ready, Ready, Ready, Draining, Unready]);
}

#[test]
fn line_06_ready_is_serving_and_not_terminating_or_as_the_service_orders() {
    let endpoints = [
        "{addresses: [10.0.0.1], conditions: {ready: true, serving: true}}",
        "{addresses: [10.0.0.2], conditions: {ready: false, serving: false}}",
        "{addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}",
        "{addresses: [10.0.0.4], conditions: {ready: true, serving: true, terminating: true}}",
    ];
    let plain = join(cart(), [slice("cart-1", &endpoints)]);
    let healths: Vec<Health> = served(&plain).into_values().collect();
    assert_eq!(healths, [Health::Ready, Health::Unready, Health::Draining, Health::Ready]);

    let published = cart_with(", publishNotReadyAddresses: true");
    let all = join(published, [slice("cart-1", &endpoints)]);
    assert!(served(&all).values().all(|health| *health == Health::Ready));
}

#[test]
fn line_07_serving_and_terminating_ones_are_kept_for_when_nothing_is_ready() {
    let leaving =
        "{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}";
    let gone =
        "{addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}";
    let join = join(cart(), [slice("cart-1", &[leaving, gone])]);
    assert_eq!(served(&join)["10.0.0.1:8080"], Health::Draining);
    assert_eq!(served(&join)["10.0.0.2:8080"], Health::Unready);
}

#[test]
fn line_08_an_address_may_begin_as_terminating_and_come_back_ready() {
    let old = "{addresses: [10.0.0.1], conditions: {ready: false, terminating: true}, targetRef: \
               {uid: a}}";
    let new = "{addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {uid: b}}";
    let mut join = join(cart(), [slice("cart-1", &[old])]);
    assert_eq!(served(&join)["10.0.0.1:8080"], Health::Draining);
    join.put_slice(slice("cart-1", &[old, new]));
    assert_eq!(served(&join)["10.0.0.1:8080"], Health::Ready);
    join.put_slice(slice("cart-1", &[new]));
    assert_eq!(served(&join)["10.0.0.1:8080"], Health::Ready);
}

#[test]
fn line_09_a_relist_deletes_what_vanished_while_the_watch_was_away() {
    let catalog = Catalog::new(["test"]);
    let list = |join: &SliceUnion| -> Vec<Service> {
        join.names().iter().filter_map(|name| join.service(name, &"test".into())).collect()
    };
    let users = slice_of("users", "u-1", "IPv4", ONE_PORT, &["{addresses: [10.0.0.9]}"]);
    let before = join(cart(), [slice("cart-1", &["{addresses: [10.0.0.1]}"]), users.unwrap()]);
    catalog.apply(SourceId(0), Change::Replace(list(&before)), Duration::ZERO);
    let after = join(cart(), [slice("cart-2", &["{addresses: [10.0.0.2]}"])]);
    catalog.apply(SourceId(0), Change::Replace(list(&after)), Duration::ZERO);
    assert_eq!(catalog.list(None).len(), 1);
    let cart = catalog.get(&name()).unwrap();
    let addresses: Vec<_> = cart.ports[0].endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2:8080"]);
}

#[test]
fn line_10_hints_are_all_or_nothing_over_the_ready_endpoints() {
    let mut endpoints = vec![
        "{addresses: [10.0.0.1], hints: {forZones: [{name: a}], forNodes: [{name: n1}]}}",
        "{addresses: [10.0.0.2], hints: {forZones: [{name: b}], forNodes: [{name: n2}]}}",
        "{addresses: [10.0.0.3], conditions: {ready: false}}",
    ];
    let read = |endpoints: &[&str]| -> Arc<[Endpoint]> {
        service(&join(cart(), [slice("cart-1", endpoints)])).ports[0].endpoints.clone()
    };
    let hinted = read(&endpoints);
    assert_eq!(preferred(hinted.iter().enumerate(), Some("n2"), Some("a")), Some(vec![1]));
    assert_eq!(preferred(hinted.iter().enumerate(), Some("n3"), Some("a")), Some(vec![0]));
    assert_eq!(preferred(hinted.iter().enumerate(), Some("n3"), Some("c")), None);
    endpoints.push("{addresses: [10.0.0.4]}");
    assert_eq!(preferred(read(&endpoints).iter().enumerate(), Some("n2"), Some("a")), None);
}

#[test]
fn line_12_a_pod_of_two_families_is_one_endpoint_in_the_services_first() {
    let v4 = ["{addresses: [10.0.0.1], targetRef: {uid: a}}", "{addresses: [10.0.0.2]}"];
    let v6 = [
        "{addresses: ['fd00::1'], targetRef: {uid: a}}",
        "{addresses: ['fd00::3'], targetRef: {uid: c}}",
    ];
    let slices =
        || [slice("cart-1", &v4), slice_of("cart", "cart-2", "IPv6", ONE_PORT, &v6).unwrap()];
    // A pod with only the second family is kept.
    assert_eq!(
        addresses(&join(cart(), slices())),
        ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::3]:8080"]
    );
    let v6_first = cart_with(", ipFamilies: [IPv6, IPv4]");
    assert_eq!(
        addresses(&join(v6_first, slices())),
        ["10.0.0.2:8080", "[fd00::1]:8080", "[fd00::3]:8080"]
    );
    assert_eq!(addresses(&join(None, slices())).len(), 3);
}

#[test]
fn line_12_an_endpoint_tells_which_pod_has_its_address() {
    let pods = |uid: &str| {
        let endpoint = format!("{{addresses: [10.0.0.1], targetRef: {{uid: {uid}}}}}");
        let endpoints = [&*endpoint, "{addresses: [10.0.0.2]}"];
        let endpoints =
            service(&join(cart(), [slice("cart-1", &endpoints)])).ports[0].endpoints.clone();
        [endpoints[0].pod, endpoints[1].pod]
    };
    let [first, unknown] = pods("a");
    assert!(first.is_some() && unknown.is_none());
    assert_eq!(pods("a")[0], first);
    assert_ne!(pods("b")[0], first);
}

#[test]
fn line_12_slices_of_dns_names_are_ignored() {
    assert!(
        slice_of("cart", "c-1", "FQDN", ONE_PORT, &["{addresses: [db.example.com]}"]).is_none()
    );
}

#[test]
fn line_13_only_the_first_address_has_a_meaning() {
    let join = join(cart(), [slice("cart-1", &["{addresses: [10.0.0.1, 10.0.0.2]}"])]);
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
}

#[test]
fn line_14_ports_are_resolved_by_name_and_their_numbers_may_differ_by_slice() {
    let ports = |number| format!("[{{name: metrics, port: 9100}}, {{name: http, port: {number}}}]");
    let of = |name, number, endpoint| {
        slice_of("cart", name, "IPv4", &ports(number), &[endpoint]).unwrap()
    };
    let slices = [
        of("cart-1", 8080, "{addresses: [10.0.0.1]}"),
        of("cart-2", 8081, "{addresses: [10.0.0.2]}"),
    ];
    let join = join(cart(), slices);
    assert_eq!(addresses(&join), ["10.0.0.1:8080", "10.0.0.2:8081"]);
    assert_eq!(service(&join).ports.len(), 1);
    assert_eq!(service(&join).ports[0].number, Some(80));
}

#[test]
fn line_14_a_port_without_a_number_is_no_port() {
    let ports = "[{name: http}]";
    let slices = [slice_of("cart", "c-1", "IPv4", ports, &["{addresses: [10.0.0.1]}"]).unwrap()];
    assert!(addresses(&join(cart(), slices)).is_empty());
}

#[test]
fn line_17_slices_may_come_before_their_service() {
    let mut join = join(None, [slice("cart-1", &["{addresses: [10.0.0.1]}"])]);
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
    assert_eq!(service(&join).ports[0].number, None);
    join.put_service(cart());
    assert_eq!(service(&join).ports[0].number, Some(80));
    assert_eq!(addresses(&join), ["10.0.0.1:8080"]);
    join.remove_service(&name());
    join.remove_slice("shop", "cart-1");
    assert!(join.service(&name(), &"test".into()).is_none());
}

#[test]
fn line_18_slices_without_the_service_label_are_of_no_service() {
    assert!(slice_of("", "c-1", "IPv4", ONE_PORT, &["{addresses: [10.0.0.1]}"]).is_none());
}

#[test]
fn line_18_a_slice_may_change_hands() {
    let mut join = join(cart(), [slice("shared", &["{addresses: [10.0.0.1]}"])]);
    let users = slice_of("users", "shared", "IPv4", ONE_PORT, &["{addresses: [10.0.0.1]}"]);
    let touched = join.put_slice(users.unwrap());
    assert_eq!(touched.len(), 2);
    assert!(addresses(&join).is_empty());
}

#[test]
fn line_20_internal_traffic_policy_local_is_told_as_a_flag() {
    let endpoints =
        ["{addresses: [10.0.0.1], nodeName: n1}", "{addresses: [10.0.0.2], nodeName: n2}"];
    let flag = |fields: &str| {
        let join = join(cart_with(fields), [slice("cart-1", &endpoints)]);
        assert_eq!(addresses(&join).len(), 2, "whoever is on a node leaves out the others");
        service(&join).eligibility.nodes
    };
    assert_eq!(flag(", internalTrafficPolicy: Local"), NodeScope::OwnNode);
    assert_eq!(flag(", internalTrafficPolicy: Cluster"), NodeScope::Everywhere);
}

#[test]
fn line_20_hints_and_traffic_distribution_are_preferences() {
    let endpoints = ["{addresses: [10.0.0.1], zone: a}", "{addresses: [10.0.0.2], zone: b}"];
    let spread =
        join(cart_with(", trafficDistribution: PreferSameZone"), [slice("c-1", &endpoints)]);
    assert_eq!(addresses(&spread).len(), 2);
    let setting = &service(&spread).settings[0];
    assert_eq!((setting.key.as_str(), setting.value.as_str()), ("zone", "prefer"));
    assert_eq!(setting.origin, "trafficDistribution PreferSameZone");
}

#[test]
fn line_20_session_affinity_is_not_followed_and_says_so() {
    let sticky = join(cart_with(", sessionAffinity: ClientIP"), []);
    assert!(service(&sticky).notes[0].contains("sessionAffinity ClientIP has no effect"));
}

#[test]
fn annotations_of_the_service_are_its_settings_and_win_over_its_fields() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: cart\n  namespace: shop\n  \
                annotations: {pointsman.dev/zone: 'off', example.com/zone: strict, \
                pointsman.dev/fallback: cart-other}\n\
                spec: {trafficDistribution: PreferClose}\n";
    let object = KubeService::of(document::read(&"s.yaml".into(), text).unwrap()).unwrap();
    let service = service(&join(object, []));
    let resolved = crate::policy::resolve(&Default::default(), &service);
    assert_eq!(resolved.policy.zone, crate::policy::ZoneMode::Off);
    let zone = resolved.origins.iter().find(|known| known.name == "zone").unwrap();
    assert_eq!(zone.origin, "annotation pointsman.dev/zone");
    assert_eq!(service.fallback, ["cart-other.shop".parse().unwrap()]);
    assert_eq!((service.settings.len(), service.notes.len()), (2, 0), "it is no setting");
}

#[test]
fn a_wrong_fallback_has_no_effect_and_a_note_says_so() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: cart\n  namespace: shop\n  \
                annotations: {pointsman.dev/fallback: 'cart-other, cart.yard'}\nspec: {}\n";
    let object = KubeService::of(document::read(&"s.yaml".into(), text).unwrap()).unwrap();
    let service = service(&join(object, []));
    assert!(service.fallback.is_empty());
    assert!(service.notes[0].contains("pointsman.dev/fallback has no effect: \"cart.yard\""));
}

#[test]
fn a_services_endpoints_have_the_same_order_however_slices_are_cut() {
    let one = join(cart(), [slice("c-1", &["{addresses: [10.0.0.2]}", "{addresses: [10.0.0.1]}"])]);
    let two = join(
        cart(),
        [slice("c-1", &["{addresses: [10.0.0.1]}"]), slice("c-2", &["{addresses: [10.0.0.2]}"])],
    );
    assert_eq!(service(&one), service(&two));
}

#[test]
fn a_malformed_slice_names_the_field() {
    let text = |ports: &str, endpoint: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: c, labels: {{kubernetes.io/service-name: cart}}}}\n\
             addressType: IPv4\nports: {ports}\nendpoints: [{endpoint}]\n"
        )
    };
    let error = |ports, endpoint| {
        let slice = document::read(&"s.yaml".into(), &text(ports, endpoint)).unwrap();
        Slice::of(slice).unwrap_err().to_string()
    };
    assert_eq!(
        error(ONE_PORT, "{addresses: [10.0.0.256]}"),
        "endpoints[0].addresses[0]: \"10.0.0.256\" is not an IP address"
    );
    assert!(error(ONE_PORT, "{addresses: []}").contains("an endpoint needs an address"));
    assert!(
        error(ONE_PORT, "{addresses: ['fd00::1']}")
            .contains("does not fit the slice's addressType")
    );
}
