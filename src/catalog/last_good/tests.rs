use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{LastGood, STALE_AFTER};
use crate::catalog::{
    Catalog, Change, Service, SourceId,
    sample::{endpoint, service},
};

const FIRST: SourceId = SourceId(0);
const NOW: Duration = Duration::from_secs(5);
const WALL: SystemTime = SystemTime::UNIX_EPOCH;

/// A service that an earlier agent knew and confirmed this long ago.
fn restored(services: Vec<Service>, age: Duration) -> Catalog {
    let catalog = Catalog::new(["test"]);
    let wall = WALL + age;
    let kept = services.into_iter().map(|service| LastGood {
        service: Arc::new(service),
        source: FIRST,
        confirmed: Some(WALL),
    });
    catalog.restore(kept.collect(), wall, NOW);
    catalog
}

fn cart() -> Service {
    service("cart.shop", [endpoint(1), endpoint(2), endpoint(3), endpoint(4)])
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.list(None).iter().map(|service| service.name.to_string()).collect()
}

#[test]
fn what_was_last_good_serves_before_its_source_answers_and_makes_nothing_ready() {
    let catalog = restored(vec![cart()], Duration::ZERO);
    assert!(catalog.lookup(&"cart.shop".parse().unwrap()).is_ok());
    assert!(!catalog.synced());
}

#[test]
fn an_answer_of_the_source_replaces_it_and_is_not_braked() {
    let catalog = restored(vec![cart()], Duration::ZERO);
    catalog.apply(FIRST, Change::Replace(vec![service("cart.shop", [endpoint(1)])]), NOW);
    let cart = catalog.list(None).remove(0);
    assert_eq!(*cart.ports[0].endpoints, [endpoint(1)]);
}

#[test]
fn what_the_source_does_not_know_stays_until_it_has_said_all_it_knows() {
    let catalog = restored(vec![cart(), service("pay.shop", [endpoint(9)])], Duration::ZERO);
    catalog.apply(FIRST, Change::Replace(vec![cart()]), NOW);
    assert_eq!(names(&catalog), ["cart.shop", "pay.shop"]);
    catalog.apply(FIRST, Change::Synced, NOW);
    assert_eq!(names(&catalog), ["cart.shop"]);
}

#[test]
fn a_removal_by_the_source_deletes_it() {
    let catalog = restored(vec![cart()], Duration::ZERO);
    catalog.apply(FIRST, Change::Remove("cart.shop".parse().unwrap()), NOW);
    assert!(names(&catalog).is_empty());
}

#[test]
fn it_is_stale_ten_minutes_after_it_was_confirmed_until_its_source_confirms_it() {
    let catalog = restored(vec![cart()], STALE_AFTER - Duration::from_secs(1));
    let stale = || catalog.list(None)[0].stale;
    assert!(!stale());
    let due = catalog.tick(NOW).unwrap();
    assert_eq!(due, NOW + Duration::from_secs(1));
    assert_eq!(catalog.tick(due), None);
    assert!(stale());
    catalog.apply(FIRST, Change::Upsert(cart()), due);
    assert!(!stale());
    assert!(restored(vec![cart()], STALE_AFTER).list(None)[0].stale);
}

#[test]
fn nothing_is_restored_over_what_the_source_has_said() {
    let catalog = Catalog::new(["test"]);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(7)])), NOW);
    let kept = |service| LastGood { service: Arc::new(service), source: FIRST, confirmed: None };
    catalog.restore(vec![kept(cart())], WALL, NOW);
    assert_eq!(*catalog.list(None)[0].ports[0].endpoints, [endpoint(7)]);
    catalog.apply(FIRST, Change::Synced, NOW);
    catalog.restore(vec![kept(service("pay.shop", []))], WALL, NOW);
    assert_eq!(names(&catalog), ["cart.shop"]);
}

#[test]
fn what_is_kept_says_when_it_was_confirmed_last() {
    let catalog = restored(vec![cart()], Duration::from_secs(100));
    assert_eq!(catalog.last_good()[0].confirmed, Some(WALL));
    catalog.apply(FIRST, Change::Upsert(cart()), NOW);
    let kept = catalog.last_good();
    assert_eq!((kept.len(), kept[0].confirmed), (1, None));
    assert_eq!(*kept[0].service, cart());
}
