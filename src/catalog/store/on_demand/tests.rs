//! A source that knows all names, and reads the endpoints of services that callers ask for.

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

/// A new interest in a service.
fn ask(catalog: &Catalog, text: &str) -> crate::catalog::Interest {
    catalog.interests().ask(None, &name(text)).unwrap();
    catalog.interest(&name(text)).unwrap()
}

#[test]
fn what_is_said_of_a_service_after_its_deletion_leaves_no_ghost() {
    let catalog = named(&["cart.shop"]);
    let interest = ask(&catalog, "cart.shop");
    let upsert = |last| Change::Upsert(service("cart.shop", [endpoint(last)]));
    catalog.answer(FIRST, &interest, upsert(1), NOW);
    assert!(catalog.get(&name("cart.shop")).is_some());
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    catalog.answer(FIRST, &interest, upsert(2), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none());
    assert!(matches!(catalog.lookup(&asked("cart.shop")), Err(LookupError::NoSuchService { .. })));

    // The service comes back, and a late answer belongs to the service before.
    catalog.apply(FIRST, Change::Name(name("cart.shop")), NOW);
    catalog.answer(FIRST, &interest, upsert(2), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none(), "nobody asked for it yet");
    let anew = ask(&catalog, "cart.shop");
    catalog.answer(FIRST, &anew, upsert(3), NOW);
    catalog.answer(FIRST, &interest, upsert(2), NOW);
    catalog.answer(FIRST, &interest, Change::Withdraw(name("cart.shop")), NOW);
    let cart = catalog.get(&name("cart.shop")).unwrap();
    assert_eq!(cart.ports[0].endpoints[0], endpoint(3));

    // When nobody asks any more, the endpoints are removed.
    assert!(!catalog.interests().expire(&name("cart.shop")));
    assert!(catalog.interests().expire(&name("cart.shop")));
    catalog.answer(FIRST, &anew, Change::Withdraw(name("cart.shop")), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none());
    assert!(catalog.has(FIRST, &name("cart.shop")));
}

#[test]
fn however_a_deletion_and_an_upsert_meet_the_service_is_gone() {
    for _ in 0..2000 {
        let catalog = named(&["cart.shop"]);
        let interest = ask(&catalog, "cart.shop");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for last in 1..4 {
                    let change = Change::Upsert(service("cart.shop", [endpoint(last)]));
                    catalog.answer(FIRST, &interest, change, NOW);
                }
            });
            scope.spawn(|| catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW));
        });
        assert!(catalog.get(&name("cart.shop")).is_none());
    }
}

#[test]
fn a_service_beyond_a_callers_share_is_refused_and_one_that_is_known_is_served() {
    let names: Vec<String> = (0..2000).map(|n| format!("s{n}.shop")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let catalog = named(&names);
    let by = |uid| Some(crate::identity::Identity::Uid(uid));
    for text in &names[..1500] {
        let found = catalog.lookup_by(by(1), &asked(text));
        assert!(matches!(found, Err(LookupError::Awaited { .. })), "{text}");
    }
    let refused = catalog.lookup_by(by(1), &asked("s1500.shop"));
    assert!(matches!(refused, Err(LookupError::NotAsked { .. })), "{refused:?}");
    let other = catalog.lookup_by(by(2), &asked("s1500.shop"));
    assert!(matches!(other, Err(LookupError::Awaited { .. })), "{other:?}");
    // Another source has the service, or it served before.
    catalog.apply(FIRST, Change::Upsert(service("s1501.shop", [endpoint(1)])), NOW);
    assert!(catalog.lookup_by(by(1), &asked("s1501.shop")).is_ok());
}

#[test]
fn a_fallback_is_asked_for_as_long_as_its_service_is() {
    let catalog = named(&["cart.shop", "other.shop"]);
    let (cart, other) = (name("cart.shop"), name("other.shop"));
    catalog.lookup(&asked("cart.shop")).unwrap_err();
    let mut told = service("cart.shop", [endpoint(1)]);
    told.fallback = vec![other.clone(), name("none.shop")];
    catalog.apply(FIRST, Change::Upsert(told), NOW);
    let mut all = catalog.interests().all();
    all.sort();
    assert_eq!(all, [cart.clone(), other.clone()], "nobody asks for what is not there");
    catalog.apply(FIRST, Change::Upsert(service("other.shop", [endpoint(2)])), NOW);
    assert_eq!(catalog.get(&cart).unwrap().ports[0].endpoints.len(), 2);
    for _ in 0..3 {
        assert!(!catalog.expire_interest(&other), "its service is asked for");
    }
    assert!(!catalog.expire_interest(&cart) && catalog.expire_interest(&cart));
    assert!(catalog.expire_interest(&other), "it is not for the service any more");
}

/// a.shop, which a caller asks for, and others in a circle with it.
fn circle() -> (Catalog, [ServiceName; 3]) {
    let names = ["a.shop", "b.shop", "c.shop"];
    let catalog = named(&names);
    catalog.lookup(&asked("a.shop")).unwrap_err();
    for (index, of) in names.iter().enumerate() {
        let mut told = service(of, [endpoint(index as u8)]);
        told.fallback = vec![name(names[(index + 1) % 3]), name(of)];
        catalog.apply(FIRST, Change::Upsert(told), NOW);
    }
    (catalog, names.map(name))
}

#[test]
fn what_stands_in_for_a_fallback_is_not_asked_for() {
    let (catalog, [a, b, c]) = circle();
    let mut all = catalog.interests().all();
    all.sort();
    assert_eq!(all, [a, b.clone()]);
    catalog.lookup(&asked("b.shop")).unwrap();
    assert!(catalog.interests().all().contains(&c), "a caller asks for b.shop now");
    assert_eq!(catalog.get(&b).unwrap().ports[0].endpoints.len(), 2);
}

#[test]
fn services_that_stand_in_for_one_another_are_let_go_in_the_end() {
    let (catalog, [a, b, c]) = circle();
    catalog.lookup(&asked("b.shop")).unwrap();
    catalog.lookup(&asked("c.shop")).unwrap();
    for _ in 0..5 {
        for name in [&a, &b, &c] {
            catalog.expire_interest(name);
        }
    }
    assert!(catalog.interests().all().is_empty(), "{:?}", catalog.interests().all());
}

#[test]
fn a_fallback_counts_in_the_quota_of_the_caller_that_asks_for_its_service() {
    let catalog = named(&["cart.shop", "other.shop"]);
    let caller = Some(crate::identity::Identity::Uid(7));
    catalog.interests().ask(caller, &name("cart.shop")).unwrap();
    let mut told = service("cart.shop", [endpoint(1)]);
    told.fallback = vec![name("other.shop")];
    catalog.apply(FIRST, Change::Upsert(told), NOW);
    assert_eq!(catalog.interests().quota().holders(), [(caller, 2)]);
}
