//! A source that says all names, and the endpoints of what is asked for.

use std::time::{Duration, SystemTime};

use super::{Catalog, SourceId};
use crate::catalog::{
    Change, LastGood, LookupError, ServiceName, ServiceRef,
    sample::{endpoint, service},
};

const NOW: Duration = Duration::ZERO;
const FIRST: SourceId = SourceId(0);
const SECOND: SourceId = SourceId(1);

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn asked(text: &str) -> ServiceRef {
    text.parse().unwrap()
}

fn named(names: &[&str]) -> Catalog {
    let catalog = Catalog::new(["first", "second"]);
    catalog.apply(FIRST, Change::Names(names.iter().map(|text| name(text)).collect()), NOW);
    catalog.apply(FIRST, Change::Synced, NOW);
    catalog.apply(SECOND, Change::Synced, NOW);
    catalog
}

fn message(catalog: &Catalog, text: &str) -> String {
    catalog.lookup(&asked(text)).unwrap_err().to_string()
}

#[test]
fn a_name_that_is_none_is_answered_at_once_and_one_that_is_leads_to_a_question() {
    let catalog = named(&["cart.shop"]);
    assert!(matches!(catalog.lookup(&asked("crat.shop")), Err(LookupError::NoSuchService { .. })));
    assert_eq!(catalog.near(&name("crat.shop"), |_| true), [name("cart.shop")]);
    assert!(catalog.interests().all().is_empty(), "nobody asks a source for what is not there");
    assert_eq!(message(&catalog, "cart.shop"), "its endpoints are not known yet: no answer so far");
    assert_eq!(catalog.interests().all(), [name("cart.shop")]);
    catalog.interests().awaits(&name("cart.shop"), "the API server is away");
    assert!(message(&catalog, "cart.shop").ends_with("yet: the API server is away"));
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    assert!(catalog.lookup(&asked("cart.shop")).is_ok());
    assert_eq!(catalog.near(&name("crat.shop"), |_| true), [name("cart.shop")], "once");
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_waits_for_the_answer() {
    let catalog = std::sync::Arc::new(named(&["cart.shop"]));
    let source = catalog.clone();
    let mut changes = source.interests().changes();
    tokio::spawn(async move {
        changes.changed().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        source.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    });
    assert!(catalog.lookup_wait(&asked("cart.shop"), Duration::from_secs(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_at_once_that_the_service_is_gone() {
    let catalog = std::sync::Arc::new(named(&["cart.shop"]));
    let source = catalog.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        source.apply(FIRST, Change::Names(Vec::new()), NOW);
    });
    let begin = tokio::time::Instant::now();
    let error = catalog.lookup_wait(&asked("cart.shop"), Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, LookupError::NoSuchService { .. }));
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(catalog.interests().all().is_empty());
}

#[test]
fn what_is_not_said_any_more_is_still_there_by_name() {
    let catalog = named(&["cart.shop"]);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    catalog.apply(FIRST, Change::Withdraw(name("cart.shop")), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none());
    assert!(matches!(catalog.lookup(&asked("cart.shop")), Err(LookupError::Awaited { .. })));
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    assert!(matches!(catalog.lookup(&asked("cart.shop")), Err(LookupError::NoSuchService { .. })));
}

#[test]
fn names_that_vanished_while_the_watch_was_away_take_their_endpoints_along() {
    let catalog = named(&["cart.shop", "users.shop"]);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    catalog.apply(FIRST, Change::Names(vec![name("users.shop"), name("pay.shop")]), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none());
    assert!(!catalog.has(FIRST, &name("cart.shop")));
    assert!(catalog.has(FIRST, &name("pay.shop")));
}

#[test]
fn the_first_source_owns_what_it_has_by_name() {
    let catalog = named(&[]);
    catalog.apply(SECOND, Change::Upsert(service("cart.shop", [endpoint(2)])), NOW);
    assert!(catalog.lookup(&asked("cart.shop")).is_ok());
    catalog.apply(FIRST, Change::Name(name("cart.shop")), NOW);
    assert!(matches!(catalog.lookup(&asked("cart.shop")), Err(LookupError::Awaited { .. })));
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    assert_eq!(catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints[0], endpoint(1));
    catalog.apply(FIRST, Change::Names(Vec::new()), NOW);
    assert_eq!(catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints[0], endpoint(2));
}

#[test]
fn what_was_last_good_serves_until_its_source_says_it_again_or_has_it_no_more() {
    let catalog = Catalog::new(["first"]);
    let kept = ["cart.shop", "gone.shop"].map(|text| LastGood {
        service: service(text, [endpoint(1)]).into(),
        source: FIRST,
        confirmed: Some(SystemTime::UNIX_EPOCH),
    });
    catalog.restore(kept.into(), SystemTime::UNIX_EPOCH, NOW);
    assert_eq!(catalog.unconfirmed(FIRST).len(), 2);
    catalog.apply(FIRST, Change::Names(vec![name("cart.shop")]), NOW);
    catalog.apply(FIRST, Change::Synced, NOW);
    assert!(catalog.lookup(&asked("cart.shop")).is_ok());
    assert!(catalog.lookup(&asked("gone.shop")).is_err());
    assert_eq!(catalog.unconfirmed(FIRST), [name("cart.shop")]);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [])), NOW);
    assert!(catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints.is_empty());
}
