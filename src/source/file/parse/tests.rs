use std::{net::SocketAddr, sync::Arc};

use super::{Content, Object, read};
use crate::{
    catalog::{Health, Service},
    policy::{ZoneMode, resolve},
};

fn file() -> Arc<str> {
    "s.yaml".into()
}

fn content(text: &str) -> Content {
    read(&file(), text.as_bytes()).unwrap()
}

fn one(text: &str) -> Service {
    let [(service, _)] = content(text).services.try_into().unwrap();
    service
}

fn error(text: impl AsRef<[u8]>) -> String {
    read(&file(), text.as_ref()).unwrap_err().to_string()
}

/// `cart.shop` with one endpoint that has these fields.
fn endpoint(fields: &str) -> String {
    format!("services:\n  - name: cart.shop\n    endpoints:\n      - {{{fields}}}\n")
}

#[test]
fn a_service_is_read_with_all_it_can_say() {
    let service =
        one("services:\n  - name: cart.shop\n    ports: [{name: http, port: 8080}]\n    \
                       policy: {zone: strict, outlier: {min_requests: 9}}\n    endpoints:\n      - \
                       {address: 10.1.2.3, zone: a, region: r, node: n, weight: 3, health: \
                       draining, labels: {v: 2}, ports: {http: 8081}, ready_since: \
                       2026-01-01T00:00:00Z, server_name: x}\n      - address: fd00::1\n");
    assert_eq!(service.name.to_string(), "cart.shop");
    assert_eq!(service.source.as_ref(), "file s.yaml");
    let [port] = &service.ports[..] else { panic!("{:?}", service.ports) };
    assert_eq!((port.name.as_deref(), port.number), (Some("http"), Some(8080)));
    let first = &port.endpoints[0];
    assert_eq!(first.address, SocketAddr::from(([10, 1, 2, 3], 8081)));
    assert_eq!((first.weight, first.health), (3, Health::Draining));
    assert_eq!(first.labels.get("v").unwrap().as_ref(), "2");
    let since = first.ready_since.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_767_225_600);
    assert_eq!(port.endpoints[1].address.to_string(), "[fd00::1]:8080");
    assert_eq!(port.endpoints[1].weight, 1);
    let resolved = resolve(&Default::default(), &service);
    assert_eq!(resolved.policy.zone, ZoneMode::Strict);
    assert_eq!(resolved.policy.outlier.min_requests, 9);
    let zone = resolved.origins.iter().find(|known| known.name == "zone").unwrap();
    assert_eq!(zone.origin, "services file s.yaml:4");
}

#[test]
fn a_service_has_up_to_four_fallbacks_in_order() {
    let with = |fallback: &str| {
        format!("services:\n  - name: cart.shop\n    fallback: {fallback}\n    endpoints: []\n")
    };
    let names = |text: &str| -> Vec<String> {
        one(&with(text)).fallback.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("[b.shop, a.yard]"), ["b.shop", "a.yard"]);
    let wrong = error(with("[a.b, a.c, a.d, a.e, a.f]"));
    assert_eq!(
        wrong,
        "s.yaml:3:36: services[0].fallback[4]: a service has up to 4 fallbacks: remove the others"
    );
    let wrong = error(with("[cart]"));
    assert!(wrong.contains("s.yaml:3"), "{wrong}");
}

#[test]
fn without_ports_an_endpoint_carries_its_own() {
    let service = one(&endpoint("address: '10.1.2.3:80'"));
    assert_eq!(service.ports[0].name, None);
    assert_eq!(service.ports[0].number, None);
    assert_eq!(service.ports[0].endpoints[0].address.port(), 80);
}

#[test]
fn weight_zero_is_valid_and_takes_no_traffic() {
    assert_eq!(one(&endpoint("address: '10.1.2.3:80', weight: 0")).ports[0].endpoints[0].weight, 0);
}

#[test]
fn a_weight_beyond_32_bits_names_the_range() {
    assert_eq!(
        error(endpoint("address: '10.1.2.3:80', weight: 4294967296")),
        "s.yaml:4:42: services[0].endpoints[0].weight: this must be a whole number of 0 to \
         4294967295"
    );
    assert!(error(endpoint("address: '10.1.2.3:80', weight: -1")).contains("0 to 4294967295"));
    assert!(error(endpoint("address: '10.1.2.3:80', weight: 1.5")).contains("0 to 4294967295"));
}

#[test]
fn an_unknown_field_names_what_was_probably_meant() {
    assert_eq!(
        error(endpoint("address: '10.1.2.3:80', zoen: a")),
        "s.yaml:4:34: services[0].endpoints[0]: unknown field \"zoen\"; did you mean \"zone\"?"
    );
    assert!(
        error(endpoint("colour: red"))
            .contains("unknown field \"colour\"; the fields are address, region")
    );
    assert!(
        error("servicse: []\n")
            .contains("s.yaml:1:1: unknown field \"servicse\"; did you mean \"services\"?")
    );
}

#[test]
fn an_unknown_word_names_the_words_there_are() {
    assert_eq!(
        error(endpoint("address: '10.1.2.3:80', health: raedy")),
        "s.yaml:4:42: services[0].endpoints[0].health: \"raedy\" is none of ready, draining, \
         unready; did you mean \"ready\"?"
    );
}

#[test]
fn a_duplicate_service_names_both_lines() {
    let text = "services:\n  - name: cart.shop\n    endpoints: []\n  - name: cart.shop\n    \
                endpoints: []\n";
    assert_eq!(
        error(text),
        "s.yaml:4:11: services[1].name: \"cart.shop\" is already in line 2: join their endpoints, \
         or rename one"
    );
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = "services:\n  - name: cart.shop\n    name: users.shop\n    endpoints: []\n";
    assert!(error(text).starts_with("s.yaml:3:5: services[0]"));
    assert!(error(text).ends_with("\"name\" stands twice here: keep one of them"));
}

#[test]
fn tabs_are_refused_with_their_place() {
    let text = error("services:\n\t- name: cart.shop\n");
    assert!(text.starts_with("s.yaml:2:2: tabs disallowed"), "{text}");
    assert!(text.ends_with("indent with spaces"), "{text}");
}

#[test]
fn port_zero_and_others_out_of_range_are_refused() {
    let ports = |port: &str| {
        error(format!(
            "services:\n  - name: c.s\n    ports: [{{port: {port}}}]\n    endpoints: []\n"
        ))
    };
    assert_eq!(
        ports("0"),
        "s.yaml:3:20: services[0].ports[0].port: \"0\" is not a port: ports are 1 to 65535"
    );
    assert!(ports("65536").contains("ports are 1 to 65535"));
    assert!(ports("http").contains("\"http\" is not a port"));
}

#[test]
fn a_malformed_address_says_how_addresses_look() {
    let text = error(endpoint("address: '10.1.2.300:80'"));
    assert!(
        text.starts_with(
            "s.yaml:4:19: services[0].endpoints[0].address: \"10.1.2.300:80\" is not an IP address"
        ),
        "{text}"
    );
    assert!(text.contains("write 10.1.2.3, 10.1.2.3:8080, fd00::1 or [fd00::1]:8080"), "{text}");
    assert!(error(endpoint("address: db.example.com")).contains("names are not looked up"));
}

#[test]
fn an_address_has_a_port_just_where_the_service_has_none() {
    let text = error(endpoint("address: 10.1.2.3"));
    assert!(
        text.contains("\"10.1.2.3\" has no port, and the service has none: write 10.1.2.3:8080"),
        "{text}"
    );
    let both = "services:\n  - name: c.s\n    ports: [{port: 80}]\n    endpoints: [{address: \
                '10.1.2.3:81'}]\n";
    assert!(
        error(both)
            .contains("\"10.1.2.3:81\" has a port, but the service has ports: write 10.1.2.3")
    );
}

#[test]
fn several_ports_need_names_and_differ() {
    let ports = |ports: &str| {
        error(format!("services:\n  - name: c.s\n    ports: [{ports}]\n    endpoints: []\n"))
    };
    assert!(
        ports("{port: 80}, {name: b, port: 81}").contains("each of several ports needs a name")
    );
    assert!(ports("{name: a, port: 80}, {name: a, port: 81}").contains("same name or number"));
    let unknown = "services:\n  - name: c.s\n    ports: [{name: http, port: 80}]\n    endpoints:\n      \
                   - {address: 10.0.0.1, ports: {htpt: 81}}\n";
    assert!(error(unknown).contains("endpoints[0].ports.htpt: the service has no port named \"htpt\"; did you mean \"http\"?"), "{}", error(unknown));
}

#[test]
fn a_name_without_a_namespace_says_how_names_look() {
    assert_eq!(
        error("services:\n  - name: cart\n    endpoints: []\n"),
        "s.yaml:2:11: services[0].name: \"cart\": names are name.namespace, such as \
         \"cart.default\""
    );
}

#[test]
fn a_missing_field_and_one_of_a_wrong_kind_are_named() {
    assert_eq!(
        error("services:\n  - name: cart.shop\n"),
        "s.yaml:2:5: services[0]: the field \"endpoints\" is missing"
    );
    assert!(error("services: 3\n").contains("services: this must be a list"));
    assert!(error("services:\n").contains("services: this must be a list"));
    assert!(error("services: [cart]\n").contains("services[0]: this must be fields (name: value)"));
    assert!(error(endpoint("address: [a]")).contains("this must be a text"));
}

#[test]
fn a_malformed_time_says_how_times_look() {
    let text = error(endpoint("address: '10.1.2.3:80', ready_since: yesterday"));
    assert!(
        text.contains("ready_since: \"yesterday\" is not a time: write it as 2026-01-01T00:00:00Z"),
        "{text}"
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_with_their_place() {
    assert_eq!(
        error(b"services:\n  - name: c\xffrt.shop\n"),
        "s.yaml:2:12: the byte 0xff is not UTF-8: save the file as UTF-8"
    );
}

#[test]
fn an_empty_file_is_refused_since_it_may_be_half_written() {
    for text in ["", "\n", "# nothing yet\n", "---\n", "\u{feff}"] {
        let error = error(text);
        assert!(error.contains("write \"services: []\" for no services"), "{text:?}: {error}");
    }
    assert!(content("services: []\n").services.is_empty());
}

#[test]
fn half_a_file_is_refused_or_at_least_harmless() {
    let whole = endpoint("address: '10.1.2.3:80', zone: a");
    assert!(read(&file(), &whole.as_bytes()[..whole.len() - 5]).is_err());
    for end in 0..whole.len() {
        drop(read(&file(), &whole.as_bytes()[..end]));
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        drop(read(&file(), &bytes));
    }

    #[test]
    fn no_yaml_makes_the_reader_panic(text in "([a-z{}\\[\\]:,'\"&*!|>#% \n-]|services:|kind: ){0,60}") {
        drop(read(&file(), text.as_bytes()));
    }
}

#[test]
fn a_byte_order_mark_is_allowed() {
    assert!(content("\u{feff}services: []\n").services.is_empty());
}

#[test]
fn anchors_and_aliases_are_allowed_and_bombs_are_not() {
    let shared = "services:\n  - name: a.shop\n    endpoints: &e [{address: '10.0.0.1:80'}]\n  - \
                  name: b.shop\n    endpoints: *e\n";
    assert_eq!(content(shared).services[1].0.ports[0].endpoints.len(), 1);

    let mut bomb = "services:\n  - name: a.shop\n    endpoints: []\n    policy:\n      a: &a \
                    [x,x,x,x,x,x,x,x,x]\n"
        .to_owned();
    for (this, last) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f")] {
        let nine = vec![format!("*{last}"); 9].join(",");
        bomb.push_str(&format!("      {this}: &{this} [{nine}]\n"));
    }
    // The same in a place where unknown fields are ignored.
    let ignored = bomb.replace("services:\n", "kind: Service\nservices:\n");
    assert!(
        error(&ignored).contains("the file has too many aliases or levels"),
        "{}",
        error(&ignored)
    );
    assert!(read(&file(), bomb.as_bytes()).is_err());
}

#[test]
fn a_bad_setting_costs_neither_the_file_nor_the_service() {
    let read = content(
        "services:\n  - name: cart.shop\n    policy:\n      zoen: off\n      choices: 9\n      \
         outlier: {base_ejection: 10m, max_ejection: 5m}\n    endpoints: []\n",
    );
    let wrong: Vec<String> = read.wrong_settings.iter().map(ToString::to_string).collect();
    assert_eq!(
        wrong,
        [
            "s.yaml:4:13: services[0].policy.zoen: no setting \"zoen\"; did you mean \"zone\"?",
            "s.yaml:5:16: services[0].policy.choices: choices is \"9\": it must be 1 to 8",
            "s.yaml:6:32: services[0].policy.outlier.base_ejection: outlier.base_ejection 10m is \
             longer than outlier.max_ejection 5m: it must not be longer",
            "s.yaml:6:51: services[0].policy.outlier.max_ejection: outlier.base_ejection 10m is \
             longer than outlier.max_ejection 5m: it must not be longer",
        ]
    );
    assert_eq!(read.services.len(), 1);
}

#[test]
fn a_policy_of_a_wrong_shape_is_refused() {
    let policy = |text: &str| {
        error(format!("services:\n  - name: c.s\n    policy: {text}\n    endpoints: []\n"))
    };
    assert!(policy("3").contains("services[0].policy: "), "{}", policy("3"));
    assert!(
        policy("{zone: [a]}").contains("services[0].policy.zone: "),
        "{}",
        policy("{zone: [a]}")
    );
    assert!(policy("{outlier: {a: {b: 1}}}").contains("\"a\" is nested too deep"));
}

const MANIFESTS: &str = "\
# as kubectl get -o yaml prints them
---
apiVersion: v1
kind: Service
metadata:
  name: cart
  namespace: shop
  annotations: {pointsman.dev/zoen: strict, pointsman.dev/choices: '3'}
spec:
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: grpc, port: 90, targetPort: grpc}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cart-x7f2p
  namespace: shop
  creationTimestamp: 2026-01-01T00:00:00Z
  managedFields: [{manager: kube-controller-manager, time: 2026-01-01T00:00:00Z}]
  labels: {kubernetes.io/service-name: cart}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: grpc, port: 9090, protocol: TCP}]
endpoints:
- addresses: [10.0.0.1]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: n1
  zone: a
---
apiVersion: apps/v1
kind: Deployment
spec: {replicas: 3}
---
";

#[test]
fn manifests_of_several_documents_are_read_and_other_kinds_passed_over() {
    let read = content(MANIFESTS);
    assert_eq!(read.objects.len(), 2);
    assert!(matches!(&read.objects[0].0, Object::Service(service) if service.ports.len() == 2));
    assert_eq!(read.objects[1].1.to_string(), "s.yaml:13");
    assert_eq!(
        read.wrong_settings[0].to_string(),
        "s.yaml:2: metadata.annotations[\"pointsman.dev/zoen\"]: no setting \"zoen\"; did you \
         mean \"zone\"?"
    );
}

/// The manifests as items of one list.
fn list(replace: &str, with: &str) -> String {
    let mut list = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for document in MANIFESTS.split("---\n").skip(1).filter(|it| !it.is_empty()) {
        list.push_str("- ");
        list.push_str(document.trim_end().replace('\n', "\n  ").as_str());
        list.push('\n');
    }
    list.replace(replace, with)
}

#[test]
fn a_list_is_read_as_its_items() {
    let read = content(&list("", ""));
    assert_eq!(read.objects.len(), 2);
    assert_eq!(read.objects[1].1.to_string(), "s.yaml:14:3");
    let json = "{\"kind\": \"EndpointSliceList\", \"apiVersion\": \"discovery.k8s.io/v1\",\n\
                \"items\": [{\"metadata\": {\"name\": \"c\", \"labels\": \
                {\"kubernetes.io/service-name\": \"cart\"}}, \"addressType\": \"IPv4\", \
                \"endpoints\": null}]}\n";
    assert_eq!(content(json).objects.len(), 1);
}

#[test]
fn a_malformed_manifest_names_its_line_and_field() {
    let bad = |replace: &str, with: &str| error(MANIFESTS.replace(replace, with));
    assert!(
        bad("10.0.0.1", "10.0.0.1000").starts_with(
            "s.yaml:13: endpoints[0].addresses[0]: \"10.0.0.1000\" is not an IP address"
        )
    );
    let text = bad("port: 8080", "port: eighty");
    assert!(text.starts_with("s.yaml:23:28: ports[0].port: "), "{text}");
    let text = error(list("port: 8080", "port: eighty"));
    assert!(text.starts_with("s.yaml:14:3: items[1].ports[0].port: "), "{text}");
    assert!(text.contains("eighty"), "{text}");
    let text = error(list("10.0.0.1", "fd00::1"));
    assert!(text.starts_with("s.yaml:14:3: items[1].endpoints[0].addresses[0]: "), "{text}");
}

#[test]
fn a_services_document_among_manifests_is_refused() {
    let text = error(format!("{MANIFESTS}services: []\n"));
    assert!(text.starts_with("s.yaml:33:1: this document has no \"kind\""), "{text}");
}

#[test]
fn a_service_of_another_api_is_no_service() {
    assert!(content("apiVersion: serving.knative.dev/v1\nkind: Service\n").objects.is_empty());
}

#[test]
fn a_services_file_may_begin_with_a_comment_and_a_marker() {
    let text = "# ours\n---\nservices:\n  - name: cart\n    endpoints: []\n";
    assert!(error(text).starts_with("s.yaml:4:11: services[0].name: "), "{}", error(text));
}
