//! For any sequence of changes, an intended change applies at once, and the brake only adds endpoints.

use std::{collections::HashSet, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::{HOLD, ports::key};
use crate::catalog::{
    Catalog, Change, Eligibility, Endpoint, Family, Health, NodeScope, Port, Service, SourceId,
    sample::{endpoint, port, with_ports},
};

/// One of twelve endpoints, on one of three nodes, of one of two families.
fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    let health = prop_oneof![
        6 => Just(Health::Ready),
        1 => Just(Health::Draining),
        1 => Just(Health::Unready)
    ];
    (1..13u8, health, 0..3u32).prop_map(|(number, health, weight)| {
        let mut some = endpoint(number);
        if number > 8 {
            some.address = format!("[fd00::{number}]:80").parse().expect("an address");
        }
        Endpoint { health, weight, node: Some(format!("n{}", number % 3).into()), ..some }
    })
}

fn some_terms() -> impl Strategy<Value = Eligibility> {
    let nodes = prop_oneof![
        4 => Just(NodeScope::Everywhere),
        2 => Just(NodeScope::Node("n1".into())),
        1 => Just(NodeScope::Nowhere)
    ];
    let family = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Family::Ipv4)),
        1 => Just(Some(Family::Ipv6))
    ];
    (nodes, family, any::<bool>(), any::<bool>()).prop_map(
        |(nodes, family, all_ready, ports_said)| Eligibility {
            nodes,
            family,
            all_ready,
            ports_said,
        },
    )
}

fn some_service() -> impl Strategy<Value = Service> {
    let one = (0..4usize, 0..4u16, vec(some_endpoint(), 0..9));
    (vec(one, 0..4), some_terms()).prop_map(|(ports, eligibility)| {
        let mut said = HashSet::new();
        let ports: Vec<Port> = (ports.into_iter())
            .filter(|(name, number, _)| {
                said.insert((1, *name)) & said.insert((2, (*number).into()))
            })
            .map(|(name, number, endpoints)| {
                let name = ["http", "metrics", "admin", ""][name];
                let mut some = port(name, 80 + number, endpoints);
                some.name = some.name.filter(|name| !name.is_empty());
                some
            })
            .collect();
        Service { eligibility, ..with_ports("cart.shop", ports) }
    })
}

proptest! {
    #[test]
    fn what_is_asked_for_holds_at_once_and_the_brake_only_adds(
        steps in vec((some_service(), 0..40u64), 1..12)
    ) {
        let catalog = Catalog::new(["test"]);
        let mut now = Duration::from_secs(100);
        for (said, seconds) in steps {
            now += Duration::from_secs(seconds);
            catalog.tick(now);
            catalog.apply(SourceId(0), Change::Upsert(said.clone()), now);
            let served = catalog.get(&said.name).expect("it was said");
            let keys = |service: &Service| service.ports.iter().map(key).collect::<Vec<_>>();
            if said.eligibility.ports_said && !said.ports.is_empty() {
                prop_assert_eq!(keys(&served), keys(&said), "no port that is not said");
            }
            for port in &served.ports {
                let addresses: HashSet<_> = port.endpoints.iter().map(|it| it.address).collect();
                prop_assert_eq!(addresses.len(), port.endpoints.len(), "each once");
                for endpoint in port.endpoints.iter() {
                    prop_assert!(said.eligibility.admits(endpoint), "{:?} {:?}", &said.eligibility, endpoint);
                    let ready = !said.eligibility.all_ready && !endpoint.braked;
                    prop_assert!(ready || endpoint.health == Health::Ready, "{:?}", endpoint);
                }
            }
            for port in &said.ports {
                let served = served.ports.iter().find(|it| key(it) == key(port)).expect("it is said");
                for endpoint in port.endpoints.iter().filter(|it| said.eligibility.admits(it)) {
                    let there = served.endpoints.iter().find(|it| it.address == endpoint.address);
                    prop_assert!(there.is_some_and(|it| !it.braked), "{:?} is not served", endpoint);
                }
            }
        }
        catalog.tick(now + HOLD);
        prop_assert_eq!(catalog.brake_counts().held, 0, "nothing is held for longer");
    }
}
