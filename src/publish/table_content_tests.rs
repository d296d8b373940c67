//! The content of a table for another process, besides the picks: which pod has an address, and where
//! to go without an agent.

use std::{net::SocketAddr, num::NonZeroU64, sync::Arc, time::Duration};

use pointsman_table::{Counters, Picker, Request, Table};

use super::{ServiceTable, Tables, Target, TargetKind};
use crate::{
    catalog::{
        Catalog, Change, Endpoint, Labels, Locality, Port, Service, Setting, SourceId, sample,
    },
    clock,
    policy::ConfigPolicies,
};

/// An agent with one service, `cart.shop`.
struct Node {
    catalog: Arc<Catalog>,
    tables: Tables,
}

impl Node {
    fn new(service: Service) -> Self {
        let catalog = Arc::new(Catalog::new(["test"]));
        catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
        let (policies, locality) = (ConfigPolicies::default(), Locality::default());
        let tables = Tables::start(catalog.clone(), policies, locality, 1).expect("a thread");
        Self { catalog, tables }
    }

    fn open(&self, number: Option<u16>, selector: Labels) -> Arc<ServiceTable> {
        let service = "cart.shop".parse().expect("a name");
        let target = Target { service, port: (None, number), selector, way: TargetKind::Balanced };
        self.tables.open(&target).expect("memory").expect("the port")
    }

    /// Changes the service, and waits until its table is `changed`.
    fn say(&self, service: Service, changed: impl Fn() -> bool) {
        self.catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
        let start = clock::now();
        while !changed() {
            assert!(clock::now() - start < Duration::from_secs(5), "the table does not follow");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tables.stop();
    }
}

fn cart(number: Option<u16>, virtual_ip: &str, endpoints: &[Endpoint]) -> Service {
    let port = Port { name: None, number, endpoints: endpoints.into() };
    let mut cart = sample::with_ports("cart.shop", vec![port]);
    cart.settings = vec![Setting::new("virtual_ip", virtual_ip, "test")];
    cart
}

fn endpoint_of(pod: u64) -> Endpoint {
    Endpoint { pod: NonZeroU64::new(pod), ..sample::endpoint(1) }
}

/// The table as another process maps it.
fn mapped(live: &ServiceTable) -> Arc<Table> {
    Table::from_fd(live.publisher().table_fd().expect("a file")).expect("a table")
}

/// The slot and the incarnation of each endpoint, as another process reads them.
fn records(live: &ServiceTable) -> Vec<(u32, u32)> {
    let table = mapped(live);
    let counters = Counters::on_heap(table.capacity().slots, 1);
    let mut picker: Picker = Picker::new(table, counters, 1, None);
    picker.pick(&Request::default());
    let records = picker.structure().endpoints.iter();
    records.map(|record| (record.slot, record.incarnation)).collect()
}

fn virtual_ip(address: &str) -> Option<SocketAddr> {
    Some(address.parse().expect("an address"))
}

#[test]
fn a_record_tells_when_another_pod_has_its_address() {
    // Only the lower half of the hash is in the table, and 0 means none.
    const ZERO: u64 = 7 << 32;
    let node = Node::new(cart(None, "none", &[endpoint_of(3)]));
    let live = node.open(None, Labels::new());
    assert_eq!(records(&live), [(0, 3)]);
    node.say(cart(None, "none", &[endpoint_of(4)]), || records(&live) != [(0, 3)]);
    assert_eq!(records(&live), [(1, 4)], "another endpoint, with a slot of its own");
    node.say(cart(None, "none", &[endpoint_of(ZERO)]), || records(&live) != [(1, 4)]);
    assert_eq!(records(&live), [(2, 1)]);
    node.say(cart(None, "none", &[sample::endpoint(1)]), || records(&live) != [(2, 1)]);
    assert_eq!(records(&live), [(2, 0)], "no pod is known, so it may be the same");
}

#[test]
fn a_service_that_is_told_again_with_the_same_pods_is_not_written_again() {
    let node = Node::new(cart(None, "none", &[endpoint_of(3)]));
    let live = node.open(None, Labels::new());
    let before = mapped(&live).generation();
    // No table has this setting, so it only shows that the service was changed again.
    let mut again = cart(None, "none", &[endpoint_of(3)]);
    again.settings.push(Setting::new("outlier.min_requests", "3", "test"));
    node.say(again, || live.publisher().policy().outlier.min_requests == 3);
    assert_eq!(mapped(&live).generation(), before);
}

#[test]
fn the_last_resort_is_the_virtual_ip_at_the_services_port() {
    let node = Node::new(cart(Some(80), "10.96.0.7", &[endpoint_of(3)]));
    let live = node.open(Some(80), Labels::new());
    assert_eq!(mapped(&live).last_resort(), virtual_ip("10.96.0.7:80"));
    let shard = Labels::from([("shard".into(), "1".into())]);
    let last_resort = mapped(&node.open(Some(80), shard)).last_resort();
    assert_eq!(last_resort, None, "a virtual IP can't serve a selector");

    let none = Node::new(cart(Some(80), "none", &[endpoint_of(3)]));
    assert_eq!(mapped(&none.open(Some(80), Labels::new())).last_resort(), None);
    let unnumbered = Node::new(cart(None, "10.96.0.7", &[endpoint_of(3)]));
    assert_eq!(mapped(&unnumbered.open(None, Labels::new())).last_resort(), None);
}

/// It must not change under a reader, so a new table with the new value replaces the first.
#[test]
fn another_virtual_ip_comes_with_another_table() {
    let node = Node::new(cart(Some(80), "10.96.0.7", &[endpoint_of(3)]));
    let live = node.open(Some(80), Labels::new());
    let before = mapped(&live);
    node.say(cart(Some(80), "10.96.0.8", &[endpoint_of(3)]), || before.superseded());
    assert_eq!(mapped(&live).last_resort(), virtual_ip("10.96.0.8:80"));
    assert_eq!(before.last_resort(), virtual_ip("10.96.0.7:80"));
    assert_eq!(records(&live), [(0, 3)]);
    let after = mapped(&live);
    assert_eq!(after.detach_after_us(), before.detach_after_us());
    node.say(cart(Some(80), "10.96.0.8", &[endpoint_of(3), sample::endpoint(2)]), || {
        records(&live).len() == 2
    });
    assert!(!after.superseded(), "the same virtual IP needs no other table");
}
