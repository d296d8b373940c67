//! Tests that the virtual IP can be picked where a mode asks for it, whatever the zones and
//! endpoints.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Outcome, PickOptions, Routing, ServiceTable, Tables, Target, TargetKind};
use crate::{
    catalog::{
        Catalog, Change, Endpoint, Health, Locality, Port, Service, ServiceName, Setting, SourceId,
    },
    clock,
    identity::Identity,
    policy::ConfigPolicies,
};

const ANY: PickOptions<'_> =
    PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: Identity::Uid(0) };
const MODES: [&str; 6] = ["off", "shadow", "0%", "40%", "100%", "on"];
const ZONES: [&str; 3] = ["prefer", "strict", "off"];

fn virtual_ip() -> SocketAddr {
    "10.96.0.7:80".parse().expect("an address")
}

/// The endpoints of a service, as seen from zone a or from no zone.
fn kinds() -> Vec<Vec<Endpoint>> {
    let at = |number: u8, zone: &str| Endpoint {
        zone: (!zone.is_empty()).then(|| zone.into()),
        ..Endpoint::at(([10, 1, 0, number], 80).into())
    };
    let unready = Endpoint { health: Health::Unready, ..at(1, "a") };
    vec![
        vec![],
        vec![at(1, "a")],
        vec![at(1, "b")],
        vec![at(1, "")],
        vec![at(1, "a"), at(2, "b")],
        vec![at(1, "a"), at(2, "")],
        vec![unready],
    ]
}

fn service(name: &str, mode: &str, zone: &str, endpoints: &[Endpoint]) -> Service {
    let setting = |(key, value): (&str, &str)| Setting::new(key, value, "test");
    let port = Port { name: None, number: Some(80), endpoints: endpoints.into() };
    let settings = [("mode", mode), ("zone", zone), ("virtual_ip", "10.96.0.7")].map(setting);
    let mut service = Service::new(name.parse().expect("a name"), "test", vec![port]);
    service.settings = settings.into();
    service
}

fn open(tables: &Tables, service: &ServiceName, way: TargetKind) -> Arc<ServiceTable> {
    let selector = Default::default();
    let target = Target { service: service.clone(), port: (None, Some(80)), selector, way };
    tables.open(&target).expect("memory").expect("the port")
}

/// Where a pick goes; None if no endpoint can serve.
fn picked(live: &ServiceTable) -> Option<SocketAddr> {
    let held = live.pick_endpoints(&ANY).ok()?.picks.remove(0);
    let address = held.endpoint.address;
    held.end(Outcome::Success, None);
    Some(address)
}

#[test]
fn the_virtual_ip_is_picked_whatever_zones_mean_and_whatever_is_known_of_them() {
    for own in [Some("a"), None] {
        let catalog = Arc::new(Catalog::new(["test"]));
        let locality = Locality { zone: own.map(Into::into), ..Locality::default() };
        let tables = Tables::start(catalog.clone(), ConfigPolicies::default(), locality, 1);
        let tables = tables.expect("a thread");
        let say = |service: &Service| {
            catalog.apply(SourceId(0), Change::Upsert(service.clone()), clock::now());
        };
        for mode in MODES {
            for (kind, endpoints) in kinds().iter().enumerate() {
                let name = format!("m{}-{kind}.shop", mode.trim_end_matches('%'));
                // Each service replaces the one before, because live tables must follow, too.
                for zone in ZONES {
                    let service = service(&name, mode, zone, endpoints);
                    say(&service);
                    let cell = format!("mode {mode}, zone {zone}, from {own:?}: {endpoints:?}");
                    let balanced = open(&tables, &service.name, TargetKind::Balanced);
                    let virtual_way = open(&tables, &service.name, TargetKind::VirtualIp);
                    let taken_over = || {
                        let meaning = balanced.explain().policy.zone;
                        format!("{meaning:?}").to_lowercase() == zone
                    };
                    let start = clock::now();
                    while !taken_over() {
                        assert!(clock::now() - start < Duration::from_secs(5), "{cell}");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    assert_eq!(picked(&virtual_way), Some(virtual_ip()), "{cell}");
                    let courses: Vec<Routing> = (0..200).map(|_| balanced.routing(None)).collect();
                    let all = |wanted| courses.iter().all(|course| *course == wanted);
                    match mode {
                        "off" | "0%" => assert!(all(Routing::VirtualIp), "{cell}"),
                        "shadow" => assert!(all(Routing::Shadow), "{cell}"),
                        "on" | "100%" => assert!(all(Routing::Balanced), "{cell}"),
                        _ => assert!(courses.contains(&Routing::VirtualIp), "{cell}"),
                    }
                }
            }
        }
        tables.stop();
    }
}
