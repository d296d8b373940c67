use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Catalog, Change, SourceId};
use crate::catalog::{
    Endpoint, Health, LookupError, PreviousValue, Service, ServiceName, Setting, SettingError,
    sample::{endpoint, port, service, with_ports},
};

const NOW: Duration = Duration::ZERO;
const FIRST: SourceId = SourceId(0);
const SECOND: SourceId = SourceId(1);

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn synced(services: Vec<Service>) -> Catalog {
    let catalog = Catalog::new(["test"]);
    catalog.apply(FIRST, Change::Replace(services), NOW);
    catalog.apply(FIRST, Change::Synced, NOW);
    catalog
}

/// The names that a listener is told from now on.
fn told_by(catalog: &Catalog) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    catalog.on_change(Box::new(move |names| {
        listener.lock().unwrap().extend(names.iter().map(ToString::to_string));
    }));
    told
}

fn message(catalog: &Catalog, asked: &str) -> String {
    catalog.lookup(&asked.parse().unwrap()).unwrap_err().to_string()
}

#[test]
fn the_first_source_that_knows_a_service_owns_all_of_its_endpoints() {
    let catalog = Catalog::new(["first", "second"]);
    catalog.apply(SECOND, Change::Upsert(service("cart.shop", [endpoint(2)])), NOW);
    assert_eq!(catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints[0], endpoint(2));
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    assert_eq!(*catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints, [endpoint(1)]);
    // The second source's service counts again when the first no longer knows it.
    catalog.apply(SECOND, Change::Upsert(service("cart.shop", [endpoint(3)])), NOW);
    assert_eq!(*catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints, [endpoint(1)]);
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    assert_eq!(*catalog.get(&name("cart.shop")).unwrap().ports[0].endpoints, [endpoint(3)]);
}

#[test]
fn an_equal_upsert_makes_no_version_and_tells_nobody() {
    let catalog = Catalog::new(["test"]);
    let told = told_by(&catalog);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    let before = catalog.get(&name("cart.shop")).unwrap().version;
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    catalog.apply(FIRST, Change::Replace(vec![service("cart.shop", [endpoint(1)])]), NOW);
    assert_eq!(catalog.get(&name("cart.shop")).unwrap().version, before);
    assert_eq!(*told.lock().unwrap(), ["cart.shop"]);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2)])), NOW);
    assert!(catalog.get(&name("cart.shop")).unwrap().version > before);
    assert_eq!(told.lock().unwrap().len(), 2);
}

#[test]
fn a_version_grows_even_over_removal_and_return() {
    let catalog = synced(vec![service("cart.shop", [endpoint(1)])]);
    let before = catalog.get(&name("cart.shop")).unwrap().version;
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [endpoint(1)])), NOW);
    assert!(catalog.get(&name("cart.shop")).unwrap().version > before);
}

#[test]
fn a_relist_deletes_what_vanished_while_the_watch_was_away() {
    let catalog = synced(vec![service("cart.shop", []), service("users.shop", [])]);
    let told = told_by(&catalog);
    catalog.apply(FIRST, Change::Replace(vec![service("users.shop", [])]), NOW);
    assert!(catalog.get(&name("cart.shop")).is_none());
    assert_eq!(*told.lock().unwrap(), ["cart.shop"]);
}

#[test]
fn a_listener_sees_what_it_is_told_of_and_may_call_back() {
    let catalog = Arc::new(Catalog::new(["test"]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, listener) = (Arc::downgrade(&catalog), seen.clone());
    catalog.on_change(Box::new(move |names| {
        let catalog = inner.upgrade().unwrap();
        let seen = names.iter().map(|name| catalog.get(name).map(|service| service.version));
        listener.lock().unwrap().extend(seen);
        catalog.apply(FIRST, Change::Synced, NOW);
    }));
    catalog.apply(FIRST, Change::Upsert(service("cart.shop", [])), NOW);
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    assert_eq!(*seen.lock().unwrap(), [Some(1), None]);
    assert!(catalog.synced());
}

#[test]
fn a_reader_sees_all_of_a_change_or_nothing() {
    let catalog = Arc::new(synced(vec![service("a.shop", []), service("b.shop", [])]));
    let writer = catalog.clone();
    let writing = std::thread::spawn(move || {
        for round in 0..2000 {
            let names = if round % 2 == 0 { ["c.shop", "d.shop"] } else { ["a.shop", "b.shop"] };
            let services = names.map(|name| service(name, [])).to_vec();
            writer.apply(FIRST, Change::Replace(services), NOW);
        }
    });
    while !writing.is_finished() {
        let seen: Vec<String> = catalog.list(None).iter().map(|s| s.name.to_string()).collect();
        assert!(seen == ["a.shop", "b.shop"] || seen == ["c.shop", "d.shop"], "{seen:?}");
    }
    writing.join().unwrap();
}

#[test]
fn services_are_listed_by_name_and_by_namespace() {
    let catalog =
        synced(vec![service("users.shop", []), service("cart.shop", []), service("a.bank", [])]);
    let listed = |namespace| -> Vec<String> {
        catalog.list(namespace).iter().map(|service| service.name.to_string()).collect()
    };
    assert_eq!(listed(None), ["a.bank", "cart.shop", "users.shop"]);
    assert_eq!(listed(Some("shop")), ["cart.shop", "users.shop"]);
    assert!(listed(Some("sho")).is_empty());
}

#[test]
fn what_was_probably_meant_is_looked_for_among_what_is_visible() {
    let catalog = synced(vec![service("cart.shop", []), service("users.shop", [])]);
    assert_eq!(message(&catalog, "crat.shop"), r#"no service "crat.shop""#);
    let near = |text: &str| catalog.near(&text.parse().unwrap(), |name| *name.name != *"users");
    assert_eq!(near("crat.shop"), [name("cart.shop")]);
    assert!(near("ledger.bank").is_empty());
    assert!(near("user.shop").is_empty(), "not visible");
}

#[test]
fn a_port_is_found_by_name_or_number_and_alone_without_either() {
    let ports = vec![port("http", 80, [endpoint(1)]), port("grpc", 90, [endpoint(2)])];
    let catalog = synced(vec![with_ports("cart.shop", ports), service("users.shop", [])]);
    let found = |asked: &str| catalog.lookup(&asked.parse().unwrap()).unwrap().port;
    assert_eq!(found("cart.shop:grpc"), 1);
    assert_eq!(found("cart.shop.svc.cluster.local:80"), 0);
    assert_eq!(found("users.shop"), 0);
    assert_eq!(
        message(&catalog, "cart.shop"),
        r#""cart.shop" has 2 ports: name one, such as "cart.shop:http"; its ports: http (80), grpc (90)"#
    );
    assert_eq!(
        message(&catalog, "cart.shop:htpt"),
        r#""cart.shop" has no port "htpt"; did you mean "http"? its ports: http (80), grpc (90)"#
    );
    assert!(message(&catalog, "users.shop:80").contains("ask without a port"));
}

#[test]
fn a_port_whose_name_is_a_number_is_found_by_it() {
    let catalog = synced(vec![with_ports("cart.shop", vec![port("8080", 80, [])])]);
    assert_eq!(catalog.lookup(&"cart.shop:8080".parse().unwrap()).unwrap().port, 0);
}

#[test]
fn until_all_sources_answered_an_unknown_service_may_yet_turn_up() {
    let catalog = Catalog::new(["file a.yaml", "kubernetes"]);
    catalog.apply(SECOND, Change::Upsert(service("cart.shop", [])), NOW);
    catalog.apply(SECOND, Change::Synced, NOW);
    assert!(catalog.lookup(&"cart.shop".parse().unwrap()).is_ok());
    assert_eq!(message(&catalog, "users.shop"), "not known yet: no answer so far from file a.yaml");
    catalog.apply(FIRST, Change::Synced, NOW);
    assert!(catalog.synced());
    assert!(message(&catalog, "users.shop").starts_with("no service"));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_waits_for_the_first_answer_and_no_longer() {
    let catalog = Arc::new(Catalog::new(["test"]));
    let asked = "cart.shop".parse().unwrap();
    let waited = catalog.lookup_wait(&asked, Duration::from_secs(1)).await;
    assert!(matches!(waited, Err(LookupError::NotSynced { .. })));
    assert!(!catalog.wait_synced(Duration::from_secs(1)).await);
    let feeder = catalog.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        feeder.apply(FIRST, Change::Upsert(service("cart.shop", [])), NOW);
        tokio::time::sleep(Duration::from_millis(300)).await;
        feeder.apply(FIRST, Change::Synced, NOW);
    });
    let start = tokio::time::Instant::now();
    assert!(catalog.lookup_wait(&asked, Duration::from_secs(1)).await.is_ok());
    assert_eq!(start.elapsed(), Duration::from_millis(300));
    assert!(catalog.wait_synced(Duration::from_secs(1)).await);
    assert_eq!(start.elapsed(), Duration::from_millis(600));
}

#[test]
fn of_two_entries_with_one_address_the_healthiest_counts_in_any_order() {
    let unready = Endpoint { health: Health::Unready, ..endpoint(1) };
    let draining = Endpoint { health: Health::Draining, ..endpoint(1) };
    for endpoints in [
        [unready.clone(), endpoint(1), draining.clone(), endpoint(2)],
        [endpoint(1), draining, unready, endpoint(2)],
    ] {
        let catalog = synced(vec![service("cart.shop", endpoints)]);
        let cart = catalog.get(&name("cart.shop")).unwrap();
        assert_eq!(*cart.ports[0].endpoints, [endpoint(1), endpoint(2)]);
        assert!(
            cart.notes[0].starts_with("2 endpoints have the address of another"),
            "{:?}",
            cart.notes
        );
    }
}

#[test]
fn a_service_without_ports_has_one_that_is_empty() {
    let catalog = synced(vec![with_ports("cart.shop", vec![])]);
    assert_eq!(catalog.lookup(&"cart.shop".parse().unwrap()).unwrap().port, 0);
}

#[test]
fn what_repeats_is_kept_once_and_an_endpoint_stays_small() {
    let zoned = |last| Endpoint {
        zone: Some(Arc::from("zone-a")),
        labels: Arc::new([(Arc::from("v"), Arc::from("1"))].into()),
        ..endpoint(last)
    };
    let catalog = synced(vec![service("a.shop", [zoned(1)]), service("b.shop", [zoned(2)])]);
    let first = |text| catalog.get(&name(text)).unwrap().ports[0].endpoints[0].clone();
    let (a, b) = (first("a.shop"), first("b.shop"));
    assert!(Arc::ptr_eq(a.zone.as_ref().unwrap(), b.zone.as_ref().unwrap()));
    assert!(Arc::ptr_eq(&a.labels, &b.labels));
    assert!(size_of::<Endpoint>() <= 144, "{} bytes", size_of::<Endpoint>());
}

/// `cart.shop` with this mode, which is valid unless it contains a question mark.
fn of_mode(mode: Option<&str>) -> Service {
    let wrong = |mode| {
        let wrong = SettingError { why: "it is wrong".into(), before: PreviousValue::Unknown };
        (mode == "?").then(|| Box::new(wrong))
    };
    let setting = |mode| Setting { wrong: wrong(mode), ..Setting::new("mode", mode, "annotation") };
    let settings = mode.map(setting).into_iter().collect();
    Service { settings, ..service("cart.shop", [endpoint(1)]) }
}

/// The value in place of its wrong mode.
fn before(catalog: &Catalog) -> PreviousValue {
    let cart = catalog.get(&name("cart.shop")).unwrap();
    cart.settings[0].wrong.as_ref().unwrap().before.clone()
}

#[test]
fn a_wrong_setting_knows_what_its_source_said_before() {
    let catalog = Catalog::new(["test"]);
    let say = |mode| catalog.apply(FIRST, Change::Upsert(of_mode(mode)), NOW);
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Unknown);
    say(Some("10%"));
    say(Some("?"));
    let version = catalog.get(&name("cart.shop")).unwrap().version;
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Value("10%".into()));
    assert_eq!(
        catalog.get(&name("cart.shop")).unwrap().version,
        version,
        "said again, it is equal"
    );
    catalog.apply(FIRST, Change::Replace(vec![of_mode(Some("?"))]), NOW);
    assert_eq!(before(&catalog), PreviousValue::Value("10%".into()));
    say(None);
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Unset);
    catalog.apply(FIRST, Change::Remove(name("cart.shop")), NOW);
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Unknown, "a new one of that name is another");
}

#[test]
fn what_held_before_a_wrong_setting_is_not_lost_while_nobody_asks_for_the_service() {
    let catalog = Catalog::new(["test"]);
    let say = |mode| catalog.apply(FIRST, Change::Upsert(of_mode(mode)), NOW);
    catalog.apply(FIRST, Change::Names(vec![name("cart.shop")]), NOW);
    say(Some("10%"));
    say(Some("?"));
    catalog.apply(FIRST, Change::Withdraw(name("cart.shop")), NOW);
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Value("10%".into()));
    catalog.apply(FIRST, Change::Withdraw(name("cart.shop")), NOW);
    catalog.apply(FIRST, Change::Names(vec![]), NOW);
    say(Some("?"));
    assert_eq!(before(&catalog), PreviousValue::Unknown);
}

#[test]
fn what_held_before_a_wrong_setting_outlives_the_agent() {
    let catalog = Catalog::new(["test"]);
    let say = |catalog: &Catalog, mode| catalog.apply(FIRST, Change::Upsert(of_mode(mode)), NOW);
    say(&catalog, Some("10%"));
    say(&catalog, Some("?"));
    let next = Catalog::new(["test"]);
    next.restore(catalog.last_good(), std::time::SystemTime::UNIX_EPOCH, NOW);
    say(&next, Some("?"));
    assert_eq!(before(&next), PreviousValue::Value("10%".into()));
}
