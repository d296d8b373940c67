//! Changes that are applied at once lead to the same catalog as one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::catalog::sample::{endpoint, service};

const SERVICES: u8 = 4;
const NOW: Duration = Duration::from_secs(1);

fn name(n: u8) -> ServiceName {
    format!("s{n}.shop").parse().unwrap()
}

fn any_service() -> impl Strategy<Value = Service> {
    // Few endpoints are many removals, so that the brake acts.
    let endpoints = prop::collection::btree_set(1..=6_u8, 0..=6);
    (0..SERVICES, endpoints).prop_map(|(n, endpoints)| {
        service(&name(n).to_string(), endpoints.into_iter().map(endpoint))
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let any_name = || (0..SERVICES).prop_map(name);
    let services = prop::collection::vec(any_service(), 0..4).prop_map(|services| {
        let by_name: BTreeMap<_, _> =
            services.into_iter().map(|it| (it.name.clone(), it)).collect();
        by_name.into_values().collect()
    });
    prop_oneof![
        8 => any_service().prop_map(Change::Upsert),
        2 => any_name().prop_map(Change::Remove),
        1 => services.prop_map(Change::Replace),
        1 => any_name().prop_map(Change::Name),
        1 => prop::collection::vec(any_name(), 0..4).prop_map(Change::Names),
        1 => any_name().prop_map(Change::Withdraw),
        1 => Just(Change::Synced),
    ]
}

/// What readers see of a catalog.
fn seen(catalog: &Catalog) -> impl PartialEq + std::fmt::Debug + use<> {
    // Services of one change get their versions in no order.
    let unversioned = |service: &Arc<Service>| Service { version: 0, ..(**service).clone() };
    let services: Vec<Service> = catalog.list(None).iter().map(unversioned).collect();
    (services, catalog.sort_names(), catalog.unsynced(), catalog.brake_counts())
}

/// The version of each service.
fn versions(snapshot: &Snapshot) -> BTreeMap<ServiceName, u64> {
    snapshot.iter().map(|service| (service.name.clone(), service.version)).collect()
}

proptest! {
    #[test]
    fn all_at_once_leads_to_the_same_catalog_as_one_by_one(
        batches in prop::collection::vec((0..2_usize, prop::collection::vec(any_change(), 0..8)), 1..8)
    ) {
        let (single, whole) = (Catalog::new(["a", "b"]), Catalog::new(["a", "b"]));
        let told: Arc<Mutex<Vec<ServiceName>>> = Arc::default();
        let listener = told.clone();
        whole.on_change(Box::new(move |names| listener.lock().unwrap().extend_from_slice(names)));
        for (seconds, (source, changes)) in (0..).zip(batches) {
            let (source, now) = (SourceId(source), NOW + Duration::from_secs(seconds));
            let snapshot = whole.snapshot.load_full();
            let before = versions(&snapshot);
            for change in changes.clone() {
                single.apply(source, change, now);
            }
            whole.apply_all(source, changes, now);
            prop_assert_eq!(seen(&single), seen(&whole));
            prop_assert_eq!(single.tick(now), whole.tick(now));
            prop_assert_eq!(&versions(&snapshot), &before, "a reader's snapshot stays");

            let after = versions(&whole.snapshot.load());
            let told = std::mem::take(&mut *told.lock().unwrap());
            let names: BTreeSet<&ServiceName> = told.iter().collect();
            prop_assert_eq!(names.len(), told.len(), "each once");
            for name in before.keys().chain(after.keys()) {
                let (before, after) = (before.get(name), after.get(name));
                prop_assert!(before == after || names.contains(name), "{name} changed");
                prop_assert!(before.is_none() || after.is_none() || before <= after);
            }
        }
    }
}

#[test]
fn a_reader_sees_all_changes_of_a_batch_or_none() {
    let catalog = Arc::new(Catalog::new(["test"]));
    let upsert = |n: u8, last: u8| Change::Upsert(service(&name(n).to_string(), [endpoint(last)]));
    catalog.apply_all(SourceId(0), (0..SERVICES).map(|n| upsert(n, 1)), NOW);
    let writer = catalog.clone();
    let writing = std::thread::spawn(move || {
        for round in 0..2000 {
            let changes = (0..SERVICES).map(|n| upsert(n, 1 + (round % 2) as u8));
            writer.apply_all(SourceId(0), changes, NOW);
        }
    });
    while !writing.is_finished() {
        let addresses: BTreeSet<SocketAddr> =
            catalog.list(None).iter().map(|it| it.ports[0].endpoints[0].address).collect();
        assert_eq!(addresses.len(), 1);
    }
    writing.join().unwrap();
}

#[test]
fn one_change_copies_as_much_among_ten_thousand_services_as_a_shard_has() {
    const MANY: usize = 10_000;
    let catalog = Catalog::new(["test"]);
    let of = |n: usize, last: u8| Change::Upsert(service(&format!("s{n}.shop"), [endpoint(last)]));
    catalog.apply_all(SourceId(0), (0..MANY).map(|n| of(n, 1)), NOW);
    let before = catalog.snapshot.load_full();
    catalog.apply(SourceId(0), of(5, 1), NOW);
    assert!(Arc::ptr_eq(&before, &catalog.snapshot.load()), "nothing differs");
    catalog.apply(SourceId(0), of(5, 2), NOW);
    // A shard has 39 services on average. 120 would be thirteen standard deviations more.
    let copied = catalog.snapshot.load().copied(&before);
    assert!((1..120).contains(&copied), "{copied} services copied");
    let shared =
        catalog.list(None).iter().filter(|it| it.ports[0].endpoints[0] == endpoint(1)).count();
    assert_eq!(shared, MANY - 1);
}
