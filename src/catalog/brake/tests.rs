use std::{sync::Arc, time::Duration};

use super::{HOLD, WINDOW};
use crate::catalog::{
    Catalog, Change, Endpoint, Health, Port, Service, SourceId,
    sample::{address, endpoint, port, service, with_ports},
};

const SOURCE: SourceId = SourceId(0);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A catalog with `cart.shop` on endpoints 1 to `count`, at time 0.
fn catalog(count: u8) -> Catalog {
    let catalog = Catalog::new(["test"]);
    put(&catalog, ready(1..=count), 0);
    catalog
}

fn ready(range: impl IntoIterator<Item = u8>) -> Vec<Endpoint> {
    range.into_iter().map(endpoint).collect()
}

fn put(catalog: &Catalog, endpoints: Vec<Endpoint>, seconds: u64) {
    catalog.apply(SOURCE, Change::Upsert(service("cart.shop", endpoints)), at(seconds));
}

fn cart(catalog: &Catalog) -> Arc<Service> {
    catalog.get(&"cart.shop".parse().unwrap()).unwrap()
}

/// The last byte of each address. It is negative for braked ones.
fn served(catalog: &Catalog) -> Vec<i16> {
    cart(catalog).ports[0].endpoints.iter().map(number).collect()
}

fn number(endpoint: &Endpoint) -> i16 {
    let std::net::IpAddr::V4(ip) = endpoint.address.ip() else { panic!("{endpoint:?}") };
    let last = i16::from(ip.octets()[3]);
    if endpoint.braked { -last } else { last }
}

#[test]
fn an_update_that_takes_all_endpoints_is_braked() {
    let catalog = catalog(3);
    put(&catalog, vec![], 1);
    assert_eq!(served(&catalog), [-1, -2, -3]);
    assert_eq!(catalog.brake_counts().triggered, 1);
    assert_eq!(catalog.brake_counts().held, 3);
    let note = &cart(&catalog).notes[0];
    assert!(note.contains("3 of 3 endpoints disappeared within 10 s"), "{note}");
    assert!(note.contains("for 60 s"), "{note}");
    assert!(note.contains("remove in two steps (first draining, then gone)"), "{note}");
}

#[test]
fn more_than_half_of_four_is_braked_and_half_is_not() {
    let four = catalog(4);
    put(&four, ready(1..=2), 1);
    assert_eq!(served(&four), [1, 2]);
    let five = catalog(5);
    put(&five, ready(1..=2), 1);
    assert_eq!(served(&five), [1, 2, -3, -4, -5]);
}

#[test]
fn of_fewer_than_four_only_the_loss_of_all_is_braked() {
    let catalog = catalog(3);
    put(&catalog, ready([1]), 1);
    assert_eq!(served(&catalog), [1]);
    assert!(cart(&catalog).notes.is_empty());
}

#[test]
fn removals_within_ten_seconds_count_together() {
    let catalog = catalog(8);
    put(&catalog, ready(1..=5), 1);
    assert_eq!(served(&catalog), [1, 2, 3, 4, 5]);
    put(&catalog, ready(1..=3), 9);
    assert_eq!(served(&catalog), [1, 2, 3, -6, -7, -8, -4, -5]);
}

#[test]
fn removals_further_apart_are_an_everyday_scale_down() {
    let catalog = catalog(8);
    put(&catalog, ready(1..=5), 0);
    put(&catalog, ready(1..=3), WINDOW.as_secs() + 1);
    assert_eq!(served(&catalog), [1, 2, 3]);
}

#[test]
fn what_drained_first_goes_at_once() {
    let catalog = catalog(3);
    let draining = ready(1..=3).into_iter().map(|e| Endpoint { health: Health::Draining, ..e });
    put(&catalog, draining.collect(), 1);
    put(&catalog, vec![], 2);
    assert!(served(&catalog).is_empty());
    assert_eq!(catalog.brake_counts().triggered, 0);
}

#[test]
fn what_has_weight_zero_or_was_unready_goes_at_once() {
    let catalog = catalog(2);
    let idle = Endpoint { weight: 0, ..endpoint(1) };
    let unready = Endpoint { health: Health::Unready, ..endpoint(2) };
    put(&catalog, vec![idle, unready], 1);
    put(&catalog, vec![], 2);
    assert!(served(&catalog).is_empty());
}

#[test]
fn replacing_every_endpoint_by_as_many_others_is_no_loss() {
    let catalog = catalog(4);
    put(&catalog, ready(5..=8), 1);
    assert_eq!(served(&catalog), [5, 6, 7, 8]);
}

#[test]
fn replacing_many_by_few_is_braked() {
    let catalog = catalog(8);
    put(&catalog, ready([9]), 1);
    assert_eq!(served(&catalog), [9, -1, -2, -3, -4, -5, -6, -7, -8]);
}

#[test]
fn the_hold_ends_after_sixty_seconds() {
    let catalog = catalog(2);
    put(&catalog, vec![], 1);
    assert_eq!(catalog.tick(at(1)), Some(at(1) + HOLD));
    catalog.tick(at(60));
    assert_eq!(served(&catalog), [-1, -2]);
    assert_eq!(catalog.tick(at(61)), None);
    assert!(served(&catalog).is_empty());
    assert!(cart(&catalog).notes.is_empty());
    assert_eq!(catalog.brake_counts().held, 0);
}

#[test]
fn a_failed_connection_ends_the_hold_of_that_endpoint_alone() {
    let catalog = catalog(2);
    let name = "cart.shop".parse().unwrap();
    catalog.connection_failed(&name, address(1), at(0));
    assert_eq!(served(&catalog), [1, 2]);
    put(&catalog, vec![], 1);
    catalog.connection_failed(&name, address(1), at(2));
    assert_eq!(served(&catalog), [-2]);
}

#[test]
fn an_endpoint_that_comes_back_is_an_ordinary_one() {
    let catalog = catalog(3);
    put(&catalog, vec![], 1);
    put(&catalog, ready([2]), 5);
    assert_eq!(served(&catalog), [2, -1, -3]);
    put(&catalog, ready(1..=3), 6);
    assert_eq!(served(&catalog), [1, 2, 3]);
    assert_eq!(catalog.tick(at(6)), None);
}

#[test]
fn what_is_held_for_long_is_not_counted_again() {
    let catalog = catalog(8);
    put(&catalog, ready(1..=3), 0);
    put(&catalog, ready(1..=2), 30);
    assert_eq!(served(&catalog), [1, 2, -4, -5, -6, -7, -8]);
}

#[test]
fn a_second_loss_during_a_hold_has_its_own_sixty_seconds() {
    let catalog = catalog(8);
    put(&catalog, ready(1..=3), 0);
    put(&catalog, vec![], 30);
    assert_eq!(served(&catalog), [-4, -5, -6, -7, -8, -1, -2, -3]);
    assert_eq!(catalog.tick(at(60)), Some(at(90)));
    assert_eq!(served(&catalog), [-1, -2, -3]);
    assert_eq!(catalog.brake_counts().triggered, 2);
}

#[test]
fn a_service_that_its_source_deletes_goes_at_once() {
    let catalog = catalog(3);
    catalog.apply(SOURCE, Change::Remove("cart.shop".parse().unwrap()), at(1));
    assert!(catalog.list(None).is_empty());
    let catalog = self::catalog(3);
    catalog.apply(SOURCE, Change::Replace(vec![]), at(1));
    assert!(catalog.list(None).is_empty());
}

#[test]
fn a_relist_is_braked_as_any_update() {
    let catalog = catalog(3);
    catalog.apply(SOURCE, Change::Replace(vec![service("cart.shop", [])]), at(1));
    assert_eq!(served(&catalog), [-1, -2, -3]);
}

#[test]
fn a_service_that_another_source_takes_over_is_not_braked() {
    let catalog = Catalog::new(["first", "second"]);
    let change = |endpoints| Change::Upsert(service("cart.shop", endpoints));
    catalog.apply(SourceId(1), change(ready(1..=4)), at(0));
    catalog.apply(SourceId(1), change(vec![]), at(1));
    assert_eq!(served(&catalog), [-1, -2, -3, -4]);
    catalog.apply(SourceId(0), change(ready([9])), at(2));
    assert_eq!(served(&catalog), [9]);
}

fn two_ports(http: Vec<Endpoint>, grpc: Vec<Endpoint>) -> Service {
    with_ports("cart.shop", vec![port("http", 80, http), port("grpc", 90, grpc)])
}

#[test]
fn each_port_is_judged_by_itself() {
    let catalog = Catalog::new(["test"]);
    let before = two_ports(ready(1..=3), ready(4..=6));
    catalog.apply(SOURCE, Change::Upsert(before), at(0));
    catalog.apply(SOURCE, Change::Upsert(two_ports(vec![], ready(4..=6))), at(1));
    assert_eq!(served(&catalog), [-1, -2, -3]);
    assert_eq!(cart(&catalog).ports[1].endpoints.len(), 3);
}

#[test]
fn a_port_that_is_removed_while_others_serve_goes_at_once() {
    let catalog = Catalog::new(["test"]);
    let before = two_ports(ready(1..=3), ready(4..=6));
    catalog.apply(SOURCE, Change::Upsert(before), at(0));
    let after = with_ports("cart.shop", vec![port("grpc", 90, ready(4..=6))]);
    catalog.apply(SOURCE, Change::Upsert(after), at(1));
    assert_eq!(cart(&catalog).ports.len(), 1);
}

#[test]
fn a_service_that_loses_its_ports_with_its_endpoints_keeps_both() {
    let catalog = Catalog::new(["test"]);
    let before = two_ports(ready(1..=2), ready(3..=4));
    catalog.apply(SOURCE, Change::Upsert(before), at(0));
    catalog.apply(SOURCE, Change::Upsert(with_ports("cart.shop", vec![])), at(1));
    let ports: Vec<_> = cart(&catalog).ports.iter().map(|port| port.number).collect();
    assert_eq!(ports, [Some(80), Some(90)]);
    catalog.tick(at(61));
    let placeholder = Port { name: None, number: None, endpoints: Arc::from([]) };
    assert_eq!(cart(&catalog).ports, [placeholder]);
}

#[test]
fn a_renamed_port_is_the_same_port() {
    let catalog = Catalog::new(["test"]);
    let of = |name, endpoints| with_ports("cart.shop", vec![port(name, 80, endpoints)]);
    catalog.apply(SOURCE, Change::Upsert(of("http", ready(1..=3))), at(0));
    catalog.apply(SOURCE, Change::Upsert(of("web", ready(1..=3))), at(1));
    assert_eq!(served(&catalog), [1, 2, 3]);
    assert_eq!(cart(&catalog).ports.len(), 1);
    assert_eq!(catalog.brake_counts().triggered, 0);
}

#[test]
fn who_follows_the_brake_hears_each_time_that_it_takes_hold_and_of_no_renamed_port() {
    let catalog = Catalog::new(["test"]);
    let mut braked = catalog.follow_brake();
    let of = |name, endpoints| with_ports("cart.shop", vec![port(name, 80, endpoints)]);
    catalog.apply(SOURCE, Change::Upsert(of("http", ready(1..=3))), at(0));
    catalog.apply(SOURCE, Change::Upsert(of("web", vec![])), at(1));
    assert_eq!(served(&catalog), [-1, -2, -3]);
    assert!(braked.try_recv().is_err(), "they are held, and that is no alarm");
    catalog.apply(SOURCE, Change::Upsert(of("web", ready(1..=3))), at(2));
    catalog.apply(SOURCE, Change::Upsert(of("web", vec![])), at(3));
    assert_eq!(braked.try_recv().unwrap(), cart(&catalog).name);
    assert!(braked.try_recv().is_err());
    assert_eq!(catalog.brake_counts().triggered, 1);
    assert!(super::note(&cart(&catalog)).is_some());
    drop(braked);
    put(&catalog, vec![], 200);
}

#[tokio::test(start_paused = true)]
async fn holds_end_by_themselves_and_nothing_wakes_in_between() {
    let catalog = Arc::new(catalog(2));
    let start = tokio::time::Instant::now();
    let clock_reads = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (keeper, reads) = (catalog.clone(), clock_reads.clone());
    tokio::spawn(async move {
        let clock = || {
            reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            start.elapsed()
        };
        keeper.end_holds_by(clock).await;
    });
    tokio::time::sleep(at(100)).await;
    put(&catalog, vec![], 100);
    tokio::time::sleep(at(59)).await;
    assert_eq!(served(&catalog), [-1, -2]);
    tokio::time::sleep(at(2)).await;
    assert!(served(&catalog).is_empty());
    tokio::time::sleep(at(1000)).await;
    assert_eq!(clock_reads.load(std::sync::atomic::Ordering::Relaxed), 2);
}
