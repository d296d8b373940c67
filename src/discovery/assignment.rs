//! A port's endpoints as a `ClusterLoadAssignment` that every client accepts.
//!
//! Clients refuse what they cannot use, and each in its own way: a zero weight, a gap between
//! priorities, weights above 32 bits in all. And whatever is sent as unhealthy counts when a client
//! decides whether enough is healthy. So only endpoints that may take requests are sent.

use std::{collections::BTreeMap, net::SocketAddr};

use xds::proto::{
    envoy::config::{
        core::v3::{Address, Locality, SocketAddress, address, socket_address::PortSpecifier},
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint as EndpointMessage, LbEndpoint, LocalityLbEndpoints,
            lb_endpoint::HostIdentifier,
        },
    },
    google::protobuf::UInt32Value,
};

use crate::catalog::{Endpoint, Health};

/// The sub-zone of what the brake keeps. gRPC Java knows a locality once: if two priorities have the same
/// one, it drops that of the first priority, and calls only the other. So each has sub-zones of its own.
const KEPT: &str = "kept-by-the-brake";

/// A locality's place in the message: its priority, region and zone.
pub(super) type Place<'a> = (u32, &'a str, &'a str);

/// The assignment of this name with the endpoints that may take requests: those that are ready; if none
/// is, those that are draining; and with a later priority those that the brake keeps. `endpoints`: the
/// eligible ones.
pub fn assignment(name: &str, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
    let listed = |health| {
        endpoints
            .iter()
            .filter(move |each| each.weight > 0 && !each.braked && each.health == health)
    };
    let serving: Vec<&Endpoint> = match listed(Health::Ready).next() {
        Some(_) => listed(Health::Ready).collect(),
        None => listed(Health::Draining).collect(),
    };
    let braked = endpoints.iter().filter(|each| each.weight > 0 && each.braked);
    // Priorities begin at 0 and have no gaps.
    let mut listed: Vec<u8> = serving.iter().map(|each| each.priority).collect();
    listed.sort_unstable();
    listed.dedup();
    let last = listed.len() as u32;
    let priority = |each: &Endpoint| listed.partition_point(|it| *it < each.priority) as u32;
    let all = serving.iter().map(|each| (priority(each), *each));
    let places = by_place(all.chain(braked.map(|each| (last, each))));
    let total: u64 = places.values().flatten().map(|each| u64::from(each.weight)).sum();
    let divisor = total.div_ceil(u64::from(u32::MAX) / 2).max(1);
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: places
            .into_iter()
            .map(|(place, endpoints)| {
                locality(place, &sub_zone(place.0, &endpoints), &endpoints, divisor)
            })
            .collect(),
        ..ClusterLoadAssignment::default()
    }
}

/// What makes the localities of a priority others than those of another one.
fn sub_zone(priority: u32, endpoints: &[&Endpoint]) -> String {
    match priority {
        _ if endpoints.iter().any(|each| each.braked) => KEPT.to_owned(),
        0 => String::new(),
        later => format!("priority-{later}"),
    }
}

/// These endpoints by their places, each with its priority. Those of a place are in the order of their
/// addresses: the order of a source means nothing, and equal content has to be equal bytes.
pub(super) fn by_place<'a>(
    endpoints: impl Iterator<Item = (u32, &'a Endpoint)>,
) -> BTreeMap<Place<'a>, Vec<&'a Endpoint>> {
    let mut places: BTreeMap<Place<'a>, Vec<&Endpoint>> = BTreeMap::new();
    for (priority, endpoint) in endpoints {
        let [region, zone] =
            [&endpoint.region, &endpoint.zone].map(|it| it.as_deref().unwrap_or_default());
        places.entry((priority, region, zone)).or_default().push(endpoint);
    }
    for endpoints in places.values_mut() {
        endpoints.sort_by_key(|endpoint| endpoint.address);
    }
    places
}

pub(super) fn locality_of(region: &str, zone: &str) -> Locality {
    Locality { region: region.to_owned(), zone: zone.to_owned(), ..Locality::default() }
}

/// `divisor`: what weights are divided by, so that their sum has 32 bits.
fn locality(
    (priority, region, zone): Place<'_>,
    sub_zone: &str,
    endpoints: &[&Endpoint],
    divisor: u64,
) -> LocalityLbEndpoints {
    let weight = |endpoint: &Endpoint| (u64::from(endpoint.weight) / divisor).max(1) as u32;
    LocalityLbEndpoints {
        // gRPC drops a locality that is not given, or has no weight.
        locality: Some(Locality { sub_zone: sub_zone.to_owned(), ..locality_of(region, zone) }),
        load_balancing_weight: wrapped(endpoints.iter().map(|each| weight(each)).sum()),
        lb_endpoints: endpoints.iter().map(|each| message(each, weight(each))).collect(),
        priority,
        ..LocalityLbEndpoints::default()
    }
}

/// An endpoint's address.
pub(super) fn host(address: SocketAddr) -> HostIdentifier {
    let address = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    HostIdentifier::Endpoint(EndpointMessage {
        address: Some(Address { address: Some(address::Address::SocketAddress(address)) }),
        ..EndpointMessage::default()
    })
}

fn message(endpoint: &Endpoint, weight: u32) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(host(endpoint.address)),
        load_balancing_weight: wrapped(weight),
        ..LbEndpoint::default()
    }
}

pub(super) fn wrapped(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn endpoint(last: u8) -> Endpoint {
        Endpoint::at(([10, 0, 0, last], 80).into())
    }

    /// "priority zone weight: last:weight ..."
    fn text(endpoints: &[Endpoint]) -> Vec<String> {
        let assignment = assignment("cart.shop:80", endpoints);
        assert_eq!(assignment.cluster_name, "cart.shop:80");
        let weight = |it: &Option<UInt32Value>| it.as_ref().unwrap().value;
        let places = assignment.endpoints.iter().map(|place| {
            let each = place.lb_endpoints.iter().map(|each| {
                let Some(HostIdentifier::Endpoint(endpoint)) = &each.host_identifier else {
                    panic!("an endpoint")
                };
                let Some(address::Address::SocketAddress(address)) =
                    endpoint.address.as_ref().and_then(|it| it.address.as_ref())
                else {
                    panic!("an address")
                };
                let last = address.address.rsplit('.').next().unwrap();
                format!(" {last}:{}", weight(&each.load_balancing_weight))
            });
            format!(
                "{} {} {}:{}",
                place.priority,
                place.locality.as_ref().unwrap().zone,
                weight(&place.load_balancing_weight),
                each.collect::<String>()
            )
        });
        places.collect()
    }

    #[test]
    fn only_what_may_take_requests_is_sent() {
        let unready = Endpoint { health: Health::Unready, ..endpoint(2) };
        let draining = Endpoint { health: Health::Draining, ..endpoint(3) };
        let unweighted = Endpoint { weight: 0, ..endpoint(4) };
        let all = [endpoint(1), unready.clone(), draining.clone(), unweighted.clone()];
        assert_eq!(text(&all), ["0  1: 1:1"]);
        assert_eq!(text(&[unready.clone(), draining, unweighted]), ["0  1: 3:1"], "none is ready");
        assert!(text(&[unready]).is_empty());
    }

    #[test]
    fn what_the_brake_keeps_has_the_last_priority_and_none_is_left_out_before_it() {
        let braked = Endpoint { braked: true, ..endpoint(2) };
        assert_eq!(text(&[braked.clone(), endpoint(1)]), ["0  1: 1:1", "1  1: 2:1"]);
        assert_eq!(text(&[braked]), ["0  1: 2:1"]);
    }

    #[test]
    fn priorities_are_passed_on_from_0_without_gaps_and_what_the_brake_keeps_follows() {
        let of = |last, priority| Endpoint { priority, ..endpoint(last) };
        let unready = Endpoint { health: Health::Unready, ..endpoint(9) };
        let braked = Endpoint { braked: true, ..of(4, 1) };
        assert_eq!(
            text(&[of(1, 0), of(2, 3), unready.clone(), of(3, 1), braked.clone()]),
            ["0  1: 1:1", "1  1: 3:1", "2  1: 2:1", "3  1: 4:1"]
        );
        assert_eq!(text(&[unready, of(2, 2)]), ["0  1: 2:1"], "nothing of the first is ready");
    }

    #[test]
    fn no_two_priorities_have_the_same_locality() {
        let of = |last, priority| Endpoint { priority, ..endpoint(last) };
        let braked = Endpoint { braked: true, ..endpoint(4) };
        let all = [of(1, 0), of(2, 1), of(3, 2), braked];
        let places = assignment("a.b", &all).endpoints;
        let localities: Vec<_> = places.iter().map(|place| place.locality.clone()).collect();
        for (index, locality) in localities.iter().enumerate() {
            assert!(!localities[..index].contains(locality), "{localities:?}");
        }
        assert_eq!(localities.len(), 4);
    }

    #[test]
    fn a_zone_weighs_as_much_as_its_endpoints_in_any_order_of_the_source() {
        let at = |last, zone: &str, weight| Endpoint {
            zone: Some(zone.into()),
            weight,
            ..endpoint(last)
        };
        let all = [at(3, "b", 1), at(2, "a", 7), at(1, "a", 2)];
        let expected = ["0 a 9: 1:2 2:7", "0 b 1: 3:1"];
        assert_eq!(text(&all), expected);
        let [a, b, c] = all;
        assert_eq!(text(&[c, a, b]), expected);
    }

    proptest! {
        #[test]
        fn clients_accept_whatever_the_weights_are(weights in vec(0..=u32::MAX, 0..40)) {
            let endpoints: Vec<Endpoint> = (1..)
                .zip(&weights)
                .map(|(last, weight)| Endpoint { weight: *weight, ..endpoint(last) })
                .collect();
            let assignment = assignment("a.b", &endpoints);
            let places = assignment.endpoints.iter();
            let sum: u64 = places
                .flat_map(|place| &place.lb_endpoints)
                .map(|each| u64::from(each.load_balancing_weight.as_ref().unwrap().value))
                .inspect(|weight| assert!(*weight > 0))
                .sum();
            prop_assert!(u32::try_from(sum).is_ok());
        }
    }
}
