//! Through a catalog, as picks see it: an intended change applies at once, and the brake holds only
//! endpoints that vanished from the slices.

use std::time::Duration;

use super::{
    SliceUnion,
    tests::{ONE_PORT, cart, cart_of, cart_with, join, name, slice, slice_of},
};
use crate::{
    catalog::{Catalog, Change, Health, SourceId},
    source::manifests::{endpoint_slice::Slice, service::KubeService},
};

/// A step.
enum Event {
    Service(KubeService),
    Slice(Slice),
    SliceGone(&'static str),
}

/// The events of the watches, and the result.
struct Cluster {
    join: SliceUnion,
    catalog: Catalog,
    now: Duration,
}

impl Cluster {
    /// On node n1.
    fn new(service: KubeService, slices: impl IntoIterator<Item = Slice>) -> Self {
        let catalog = Catalog::new(["test"]).on_node(Some("n1".into()));
        let cluster = Self { join: join(service, slices), catalog, now: Duration::from_secs(100) };
        cluster.say();
        cluster
    }

    fn say(&self) {
        let service = self.join.service(&name(), &"test".into()).unwrap();
        self.catalog.apply(SourceId(0), Change::Upsert(service), self.now);
    }

    fn hear(&mut self, event: Event) {
        self.now += Duration::from_millis(20);
        match event {
            Event::Service(service) => drop(self.join.put_service(service)),
            Event::Slice(slice) => drop(self.join.put_slice(slice)),
            Event::SliceGone(slice) => drop(self.join.remove_slice("shop", slice)),
        }
        self.say();
    }

    /// The endpoints that a caller of this name may get, or the reason for none: "10.0.0.1:8080 Ready",
    /// with "held" instead of the health if only the brake keeps it.
    fn asked(&self, called: &str) -> Result<Vec<String>, String> {
        let found = self.catalog.lookup(&called.parse().unwrap()).map_err(|it| it.to_string())?;
        let endpoints = found.service.ports[found.port].endpoints.iter();
        let all = endpoints.map(|it| {
            assert!(!it.braked || it.health == Health::Ready, "{it:?}");
            match it.braked {
                true => format!("{} held", it.address),
                false => format!("{} {:?}", it.address, it.health),
            }
        });
        Ok(all.collect())
    }

    fn served(&self) -> Vec<String> {
        self.asked("cart.shop").unwrap()
    }

    fn notes(&self) -> String {
        self.catalog.get(&name()).unwrap().notes.join("; ")
    }
}

const TWO: [&str; 2] =
    ["{addresses: [10.0.0.1], nodeName: n1}", "{addresses: [10.0.0.2], nodeName: n2}"];

/// A pod on another node.
const FAR: &str = "{addresses: [10.0.0.2], nodeName: n2}";

#[test]
fn a_selector_that_matches_nothing_meets_the_brake() {
    let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
    // As the controller leaves it: without endpoints and without ports.
    let empty = slice_of("cart", "c-1", "IPv4", "[]", &[]).unwrap();
    cluster.hear(Event::Slice(empty));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held", "10.0.0.2:8080 held"]);
    assert_eq!(cluster.asked("cart.shop:80").unwrap().len(), 2);
    assert!(cluster.notes().contains("brake: 2 of 2 endpoints"), "{}", cluster.notes());
}

#[test]
fn line_20_a_switch_to_local_is_obeyed_at_once_and_so_is_the_way_back() {
    let local = || Event::Service(cart_with(", internalTrafficPolicy: Local"));
    let mut none_here = Cluster::new(cart(), [slice("c-1", &[FAR])]);
    none_here.hear(local());
    assert!(none_here.served().is_empty(), "{:?}", none_here.served());
    assert!(!none_here.notes().contains("brake"), "{}", none_here.notes());
    assert_eq!(none_here.catalog.brake_counts(), Default::default());
    none_here.hear(Event::Service(cart()));
    assert_eq!(none_here.served(), ["10.0.0.2:8080 Ready"]);

    // This is no loss of more than half of many either.
    let many: Vec<String> = (1..=8)
        .map(|n| format!("{{addresses: [10.0.0.{n}], nodeName: n{}}}", if n == 1 { 1 } else { 2 }))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut one_here = Cluster::new(cart(), [slice("c-1", &many)]);
    one_here.hear(local());
    assert_eq!(one_here.served(), ["10.0.0.1:8080 Ready"]);
}

#[test]
fn line_20_what_the_brake_holds_obeys_local_as_well() {
    let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
    cluster.hear(Event::Slice(slice("c-1", &[])));
    assert_eq!(cluster.served().len(), 2);
    cluster.hear(Event::Service(cart_with(", internalTrafficPolicy: Local")));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held"]);
}

#[test]
fn line_20_with_local_the_loss_of_the_node_s_own_endpoints_meets_the_brake() {
    let mut cluster =
        Cluster::new(cart_with(", internalTrafficPolicy: Local"), [slice("c-1", &TWO)]);
    cluster.hear(Event::Slice(slice("c-1", &[])));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held"]);
}

/// In a slice that the controller writes for the ports `[http, metrics]`.
fn with_metrics() -> Slice {
    let ports = "[{name: http, port: 8080}, {name: metrics, port: 9100}]";
    slice_of("cart", "c-1", "IPv4", ports, &TWO).unwrap()
}

#[test]
fn ports_that_became_one_are_one_at_once_in_any_order_of_events() {
    let two = || cart_of("ports: [{name: http, port: 80}, {name: metrics, port: 9100}]");
    let one = || Event::Service(cart_of("ports: [{port: 80}]"));
    let slices = || Event::Slice(slice_of("cart", "c-1", "IPv4", "[{port: 8080}]", &TWO).unwrap());
    for service_first in [true, false] {
        let mut cluster = Cluster::new(two(), [with_metrics()]);
        assert_eq!(cluster.asked("cart.shop:metrics").unwrap()[0], "10.0.0.1:9100 Ready");
        let events = if service_first { [one(), slices()] } else { [slices(), one()] };
        for (nth, event) in events.into_iter().enumerate() {
            cluster.hear(event);
            if service_first || nth == 1 {
                assert_eq!(cluster.served().len(), 2, "no call fails meanwhile");
                assert!(cluster.asked("cart.shop:metrics").is_err(), "there is no such port");
            } else {
                assert_eq!(cluster.asked("cart.shop:80").unwrap().len(), 2);
            }
        }
        assert_eq!(cluster.served(), ["10.0.0.1:8080 Ready", "10.0.0.2:8080 Ready"]);
        assert_eq!(cluster.catalog.brake_counts().held, 0);
        // If slices change first and the Service does not say why, the brake acts.
        assert_eq!(cluster.catalog.brake_counts().triggered, u64::from(!service_first));
        assert!(!cluster.notes().contains("brake"), "{}", cluster.notes());
    }
}

#[test]
fn a_port_that_is_gone_is_not_held_though_the_rest_is_empty_too() {
    let mut cluster = Cluster::new(
        cart_of("ports: [{name: http, port: 80}, {name: metrics, port: 9100}]"),
        [with_metrics()],
    );
    cluster.hear(Event::Slice(slice_of("cart", "c-1", "IPv4", "[]", &[]).unwrap()));
    assert_eq!(
        cluster.asked("cart.shop:metrics").unwrap(),
        ["10.0.0.1:9100 held", "10.0.0.2:9100 held"]
    );
    cluster.hear(Event::Service(cart_of("ports: [{name: http, port: 80}]")));
    assert!(cluster.asked("cart.shop:metrics").is_err());
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held", "10.0.0.2:8080 held"]);
    cluster.hear(Event::Service(cart_of("ports: [{name: admin, port: 9901}, {port: 7, name: b}]")));
    assert_eq!(cluster.asked("cart.shop:admin").unwrap(), [""; 0], "neither is another port's");
    assert!(cluster.asked("cart.shop:http").is_err());
}

#[test]
fn a_port_of_another_number_or_name_keeps_its_endpoints_while_the_slices_follow() {
    let mut cluster = Cluster::new(
        cart_of("ports: [{name: http, port: 80}, {name: metrics, port: 9100}]"),
        [with_metrics()],
    );
    // Endpoints follow the port's name, so nothing is missing for a moment.
    let renumbered = "ports: [{name: http, port: 8000}, {name: metrics, port: 9100}]";
    cluster.hear(Event::Service(cart_of(renumbered)));
    assert_eq!(cluster.asked("cart.shop:8000").unwrap()[0], "10.0.0.1:8080 Ready");
    assert_eq!(cluster.catalog.brake_counts().triggered, 0);
    let renamed = "ports: [{name: web, port: 8000}, {name: metrics, port: 9100}]";
    cluster.hear(Event::Service(cart_of(renamed)));
    assert_eq!(cluster.asked("cart.shop:web").unwrap()[0], "10.0.0.1:8080 held");
    let ports = "[{name: web, port: 8080}, {name: metrics, port: 9100}]";
    cluster.hear(Event::Slice(slice_of("cart", "c-1", "IPv4", ports, &TWO).unwrap()));
    assert_eq!(cluster.asked("cart.shop:web").unwrap()[0], "10.0.0.1:8080 Ready");
    assert_eq!(cluster.catalog.brake_counts(), Default::default());
}

#[test]
fn names_that_are_swapped_take_their_endpoints_along() {
    let mut cluster = Cluster::new(
        cart_of("ports: [{name: http, port: 80}, {name: metrics, port: 9100}]"),
        [with_metrics()],
    );
    let swapped = "ports: [{name: metrics, port: 80}, {name: http, port: 9100}]";
    cluster.hear(Event::Service(cart_of(swapped)));
    assert_eq!(cluster.asked("cart.shop:80").unwrap()[0], "10.0.0.1:9100 Ready");
    assert_eq!(cluster.catalog.brake_counts(), Default::default());
}

#[test]
fn another_target_port_is_no_loss() {
    let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
    let other = "[{name: http, port: 9090}]";
    cluster.hear(Event::Slice(slice_of("cart", "c-1", "IPv4", other, &TWO).unwrap()));
    assert_eq!(cluster.served(), ["10.0.0.1:9090 Ready", "10.0.0.2:9090 Ready"]);
    // It is the same if one slice goes before the other comes, as with other controllers.
    cluster.now += Duration::from_secs(20);
    cluster.hear(Event::SliceGone("c-1"));
    assert_eq!(cluster.served(), ["10.0.0.1:9090 held", "10.0.0.2:9090 held"]);
    cluster.hear(Event::Slice(slice("c-2", &TWO)));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 Ready", "10.0.0.2:8080 Ready"]);
}

#[test]
fn an_external_name_serves_nothing_at_once_whatever_slices_are_left() {
    for ports in ["ports: [{name: http, port: 80}], ", ""] {
        let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
        let external = format!("{ports}type: ExternalName, externalName: db.example.com");
        cluster.hear(Event::Service(cart_of(&external)));
        assert!(cluster.served().is_empty(), "{:?}", cluster.served());
        assert_eq!(cluster.catalog.brake_counts(), Default::default());
        assert!(cluster.notes().contains("ExternalName (db.example.com)"), "{}", cluster.notes());
        cluster.hear(Event::SliceGone("c-1"));
        assert!(cluster.served().is_empty(), "{:?}", cluster.served());
        cluster.hear(Event::Slice(slice("c-1", &TWO)));
        cluster.hear(Event::Service(cart()));
        assert_eq!(cluster.served().len(), 2, "and all of it again");
    }
}

#[test]
fn what_the_brake_holds_of_a_service_goes_when_it_becomes_an_external_name() {
    let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
    cluster.hear(Event::Slice(slice("c-1", &[])));
    assert_eq!(cluster.served().len(), 2);
    let external = "type: ExternalName, externalName: db.example.com";
    cluster.hear(Event::Service(cart_of(external)));
    assert!(cluster.served().is_empty(), "{:?}", cluster.served());
}

#[test]
fn line_06_publish_not_ready_addresses_works_both_ways_at_once() {
    let unready = "{addresses: [10.0.0.1], conditions: {ready: false}}";
    let published = || cart_with(", publishNotReadyAddresses: true");
    let mut cluster = Cluster::new(published(), [slice("c-1", &[unready])]);
    assert_eq!(cluster.served(), ["10.0.0.1:8080 Ready"]);
    cluster.hear(Event::Service(cart()));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 Unready"]);
    cluster.hear(Event::Service(published()));
    cluster.hear(Event::Slice(slice("c-1", &[])));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held"], "it took traffic");
    cluster.hear(Event::Service(cart()));
    assert!(cluster.served().is_empty(), "it took it by that order alone");
}

#[test]
fn line_12_a_family_that_is_given_up_goes_at_once() {
    let v4 = slice("c-1", &["{addresses: [10.0.0.1]}"]);
    let v6: Vec<String> = (2..=6).map(|n| format!("{{addresses: ['fd00::{n}']}}")).collect();
    let v6: Vec<&str> = v6.iter().map(String::as_str).collect();
    let v6 = slice_of("cart", "c-2", "IPv6", ONE_PORT, &v6).unwrap();
    let mut cluster = Cluster::new(cart_with(", ipFamilies: [IPv4, IPv6]"), [v4, v6]);
    assert_eq!(cluster.served().len(), 6);
    cluster.hear(Event::Service(cart_with(", ipFamilies: [IPv4]")));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 Ready"]);
    assert_eq!(cluster.catalog.brake_counts(), Default::default());
}

#[test]
fn a_service_that_goes_and_comes_back_has_nothing_of_what_was_held() {
    let mut cluster = Cluster::new(cart(), [slice("c-1", &TWO)]);
    cluster.catalog.apply(SourceId(0), Change::Name(name()), cluster.now);
    cluster.hear(Event::Slice(slice("c-1", &[])));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 held", "10.0.0.2:8080 held"]);
    cluster.catalog.apply(SourceId(0), Change::Withdraw(name()), cluster.now);
    cluster.hear(Event::Slice(slice("c-1", &TWO[..1])));
    assert_eq!(cluster.served(), ["10.0.0.1:8080 Ready"]);
}
