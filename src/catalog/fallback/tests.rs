use std::time::Duration;

use super::*;
use crate::catalog::{
    Catalog, Change, Health, SourceId,
    brake::HOLD,
    sample::{endpoint, port, service, with_ports},
};

const SOURCE: SourceId = SourceId(0);

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn with_fallbacks(mut service: Service, fallbacks: &[&str]) -> Service {
    service.fallback = fallbacks.iter().map(|text| name(text)).collect();
    service
}

/// A catalog that was told these services one by one, in this order.
fn told(services: impl IntoIterator<Item = Service>) -> Catalog {
    let catalog = Catalog::new(["test"]);
    for service in services {
        catalog.apply(SOURCE, Change::Upsert(service), Duration::ZERO);
    }
    catalog
}

/// cart.shop with endpoint 1, and its fallback b.shop with endpoint 2.
fn cart_and_its_fallback() -> Catalog {
    told([
        with_fallbacks(service("cart.shop", [endpoint(1)]), &["b.shop"]),
        service("b.shop", [endpoint(2)]),
    ])
}

/// "last octet:priority" of each endpoint of a port.
fn listed(catalog: &Catalog, of: &str, port: usize) -> Vec<String> {
    let service = catalog.get(&name(of)).unwrap();
    let octet =
        |each: &Endpoint| each.address.ip().to_string().rsplit_once('.').unwrap().1.to_owned();
    let endpoints = service.ports[port].endpoints.iter();
    endpoints.map(|each| format!("{}:{}", octet(each), each.priority)).collect()
}

fn notes(catalog: &Catalog, of: &str) -> Vec<String> {
    catalog.get(&name(of)).unwrap().notes.clone()
}

#[test]
fn endpoints_of_fallbacks_follow_in_their_order_whichever_is_told_first() {
    let cart = || with_fallbacks(service("cart.shop", [endpoint(1)]), &["b.shop", "c.shop"]);
    let (b, c) =
        (|| service("b.shop", [endpoint(2)]), || service("c.shop", [endpoint(3), endpoint(1)]));
    for order in [[cart(), b(), c()], [c(), b(), cart()], [b(), cart(), c()]] {
        let catalog = told(order);
        assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0", "2:1", "3:2"]);
        let expected = [
            "fallback b.shop: 1 endpoints, with priority 1",
            "fallback c.shop: 1 endpoints, with priority 2",
        ];
        assert_eq!(notes(&catalog, "cart.shop"), expected, "an address counts once");
        assert_eq!(listed(&catalog, "b.shop", 0), ["2:0"]);
    }
}

#[test]
fn a_service_without_endpoints_has_those_of_its_fallback() {
    let catalog = told([
        with_fallbacks(service("cart.shop", []), &["b.shop"]),
        service("b.shop", [endpoint(2)]),
    ]);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["2:1"]);
}

#[test]
fn two_services_may_stand_in_for_each_other_and_none_for_itself() {
    let catalog = told([
        with_fallbacks(service("a.shop", [endpoint(1)]), &["b.shop", "a.shop"]),
        with_fallbacks(service("b.shop", [endpoint(2)]), &["a.shop"]),
    ]);
    assert_eq!(listed(&catalog, "a.shop", 0), ["1:0", "2:1"]);
    assert_eq!(listed(&catalog, "b.shop", 0), ["2:0", "1:1"]);
    assert_eq!(
        notes(&catalog, "a.shop")[1],
        "fallback a.shop: a service can't stand in for itself"
    );
}

#[test]
fn changes_of_a_fallback_are_changes_of_the_service_until_it_is_named_no_more() {
    let catalog = cart_and_its_fallback();
    let version = |of: &str| catalog.get(&name(of)).unwrap().version;
    let before = version("cart.shop");
    catalog.apply(SOURCE, Change::Upsert(service("b.shop", [endpoint(3)])), HOLD * 2);
    catalog.tick(HOLD * 4);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0", "3:1"]);
    assert!(version("cart.shop") > before);
    catalog.apply(SOURCE, Change::Remove(name("b.shop")), HOLD * 4);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0"]);
    assert_eq!(notes(&catalog, "cart.shop"), ["fallback b.shop: its endpoints are not known"]);
    catalog.apply(SOURCE, Change::Upsert(service("cart.shop", [endpoint(1)])), HOLD * 4);
    let before = version("cart.shop");
    catalog.apply(SOURCE, Change::Upsert(service("b.shop", [endpoint(4)])), HOLD * 4);
    assert_eq!((version("cart.shop"), notes(&catalog, "cart.shop").len()), (before, 0));
}

#[test]
fn ports_are_matched_by_name_by_number_or_as_the_only_ones() {
    let cart = with_ports("cart.shop", vec![port("grpc", 80, [endpoint(1)]), port("http", 81, [])]);
    let b = with_ports(
        "b.shop",
        vec![port("http", 80, [endpoint(2)]), port("grpc", 90, [endpoint(3)])],
    );
    let catalog = told([
        with_fallbacks(cart, &["b.shop", "c.shop", "d.shop"]),
        b,
        with_ports("c.shop", vec![port("other", 80, [endpoint(4)])]),
        service("d.shop", [endpoint(5)]),
    ]);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0", "3:1", "5:3"]);
    assert_eq!(listed(&catalog, "cart.shop", 1), ["2:1", "5:3"]);
    let notes = notes(&catalog, "cart.shop");
    assert!(
        notes.contains(&"fallback c.shop, port grpc: it has no such port".to_owned()),
        "{notes:?}"
    );
}

#[test]
fn what_the_brake_keeps_of_a_fallback_is_the_last_choice_of_the_service_too() {
    let catalog = cart_and_its_fallback();
    catalog.apply(SOURCE, Change::Upsert(service("b.shop", [])), Duration::ZERO);
    let cart = catalog.get(&name("cart.shop")).unwrap();
    assert!(cart.ports[0].endpoints[1].braked);
    catalog.tick(HOLD * 2);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0"]);
}

#[test]
fn services_for_callers_on_one_node_have_no_fallback_and_are_none() {
    let local = |mut service: Service| {
        service.eligibility.nodes = NodeScope::OwnNode;
        service
    };
    let catalog = told([
        with_fallbacks(local(service("a.shop", [endpoint(1)])), &["c.shop"]),
        with_fallbacks(service("b.shop", [endpoint(2)]), &["a.shop"]),
        service("c.shop", [endpoint(3)]),
    ]);
    for of in ["a.shop", "b.shop"] {
        assert_eq!(listed(&catalog, of, 0).len(), 1);
        assert!(notes(&catalog, of)[0].contains("internalTrafficPolicy Local"), "{of}");
    }
}

#[test]
fn what_came_by_way_of_another_catalog_is_not_added_again() {
    let plane = told([
        with_fallbacks(service("cart.shop", [endpoint(1)]), &["b.shop"]),
        service("b.shop", [Endpoint { health: Health::Draining, ..endpoint(2) }]),
    ]);
    let mut passed_on = Service::clone(&plane.get(&name("cart.shop")).unwrap());
    passed_on.fallback.clear();
    let agent = told([passed_on, service("b.shop", [endpoint(9)])]);
    assert_eq!(listed(&agent, "cart.shop", 0), ["1:0", "2:1"]);
}

#[test]
fn a_connection_that_fails_ends_the_hold_of_a_fallback_s_endpoint_too() {
    let catalog = cart_and_its_fallback();
    catalog.apply(SOURCE, Change::Upsert(service("b.shop", [])), Duration::ZERO);
    catalog.connection_failed(&name("cart.shop"), endpoint(2).address, Duration::ZERO);
    assert_eq!(listed(&catalog, "cart.shop", 0), ["1:0"]);
    assert_eq!(listed(&catalog, "b.shop", 0), [""; 0]);
}

#[test]
fn a_service_stands_in_for_64_others_at_most() {
    let names: Vec<String> = (0..70).map(|n| format!("s{n:02}.shop")).collect();
    let others = names.iter().map(|of| with_fallbacks(service(of, [endpoint(1)]), &["b.shop"]));
    let catalog = told(others.chain([service("b.shop", [endpoint(2)])]));
    let with = |of: &&String| listed(&catalog, of, 0).len() == 2;
    assert_eq!(names.iter().filter(with).count(), 64);
    assert!(notes(&catalog, "s69.shop")[0].contains("stands in for 64 other services"));
    catalog.apply(SOURCE, Change::Remove(name("s00.shop")), Duration::ZERO);
    let again = with_fallbacks(service("s69.shop", [endpoint(3)]), &["b.shop"]);
    catalog.apply(SOURCE, Change::Upsert(again), Duration::ZERO);
    assert!(listed(&catalog, "s69.shop", 0).contains(&"2:1".to_owned()), "there is room again");
}

#[test]
fn a_pod_that_moves_to_the_fallback_is_there_and_not_what_the_brake_kept() {
    let catalog = told([
        with_fallbacks(service("cart.shop", [endpoint(1)]), &["b.shop"]),
        service("b.shop", []),
    ]);
    catalog.apply(
        SOURCE,
        Change::Upsert(with_fallbacks(service("cart.shop", []), &["b.shop"])),
        Duration::ZERO,
    );
    catalog.apply(SOURCE, Change::Upsert(service("b.shop", [endpoint(1)])), Duration::ZERO);
    let cart = catalog.get(&name("cart.shop")).unwrap();
    let [moved] = &cart.ports[0].endpoints[..] else { panic!("{cart:?}") };
    assert!(!moved.braked && moved.priority == 1, "{moved:?}");
}
