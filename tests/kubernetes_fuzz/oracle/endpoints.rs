//! The endpoints of one port of a Service: its EndpointSlices, joined.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};

use super::{Oracle, Wrong};
use crate::objects::Objects;

/// The health that the source gives an endpoint. The healthiest is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Unready,
    Draining,
    Ready,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Ready => "ready",
        }
    }
}

/// An endpoint as one slice has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub address: SocketAddr,
    pub health: Health,
    pub zone: Option<String>,
    pub node: Option<String>,
    pub for_zones: Vec<String>,
    pub for_nodes: Vec<String>,
    pod: Option<String>,
}

/// All endpoints of a port in all slices, including duplicates.
pub fn of(oracle: &Oracle, now: &Objects, service: &Service, port: &ServicePort) -> Vec<Entry> {
    let spec = service.spec.clone().unwrap_or_default();
    let name = service.metadata.name.as_deref();
    // The API server fills this in. Slices of a family that the Service does not have do not count.
    let families = spec.ip_families.unwrap_or_default();
    let all_ready = spec.publish_not_ready_addresses == Some(true);
    let mut pods = BTreeSet::new();
    let mut found = Vec::new();
    for family in &families {
        let of_family = now.slices.values().filter(|slice| slice.address_type == *family);
        let own = of_family.filter(|slice| owner(slice) == name);
        let mut entries: Vec<Entry> =
            own.flat_map(|slice| of_slice(oracle, slice, port, all_ready)).collect();
        // A pod in slices of both families is one endpoint, in the Service's first family.
        entries.retain(|entry| entry.pod.as_ref().is_none_or(|pod| !pods.contains(pod)));
        pods.extend(entries.iter().filter_map(|entry| entry.pod.clone()));
        found.extend(entries);
    }
    found
}

/// The same address with another port is another endpoint. Of duplicates that disagree, the healthiest
/// counts. This keeps those that are equally healthy.
pub fn merge(entries: impl Iterator<Item = Entry>) -> BTreeMap<SocketAddr, Vec<Entry>> {
    let mut merged: BTreeMap<SocketAddr, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        let same = merged.entry(entry.address).or_default();
        match same.first().map(|best| entry.health.cmp(&best.health)) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Greater) => *same = vec![entry],
            _ => same.push(entry),
        }
    }
    merged
}

/// The Service of a slice.
fn owner(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get("kubernetes.io/service-name").map(String::as_str)
}

fn of_slice(
    oracle: &Oracle,
    slice: &EndpointSlice,
    port: &ServicePort,
    all_ready: bool,
) -> Vec<Entry> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let numbers: Vec<u16> = ports.iter().filter_map(|own| number(own, port)).collect();
    let endpoints = slice.endpoints.iter();
    let entry = |endpoint: &Endpoint, number: u16| -> Option<Entry> {
        // Only the first address of an endpoint has a meaning.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let hints = endpoint.hints.clone().unwrap_or_default();
        let zones = hints.for_zones.unwrap_or_default().into_iter().map(|hint| hint.name);
        let nodes = hints.for_nodes.unwrap_or_default().into_iter().map(|hint| hint.name);
        Some(Entry {
            address: SocketAddr::new(address, number),
            health: if all_ready { Health::Ready } else { health(oracle, endpoint) },
            zone: endpoint.zone.clone(),
            node: endpoint.node_name.clone(),
            for_zones: zones.collect(),
            for_nodes: nodes.collect(),
            pod: endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()),
        })
    };
    endpoints.flat_map(|endpoint| numbers.iter().filter_map(|it| entry(endpoint, *it))).collect()
}

/// Ports are resolved by their names. A port without a number, or with a number that is invalid in TCP,
/// gives no endpoint. A missing name is the empty one, and a missing protocol is TCP.
fn number(own: &EndpointPort, port: &ServicePort) -> Option<u16> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let protocol = |it: &Option<String>| it.clone().unwrap_or_else(|| "TCP".to_owned());
    let same =
        name(&own.name) == name(&port.name) && protocol(&own.protocol) == protocol(&port.protocol);
    let number = u16::try_from(own.port?).ok().filter(|number| *number != 0);
    number.filter(|_| same)
}

/// EndpointConditions: a missing one means ready, serving, or not terminating. An endpoint that is not
/// ready, but still serves while it terminates, drains.
fn health(oracle: &Oracle, endpoint: &Endpoint) -> Health {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    if conditions.ready.unwrap_or(true) {
        return Health::Ready;
    }
    let drains = conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false);
    match (drains, oracle.wrong) {
        (true, Wrong::DrainingIsReady) => Health::Ready,
        (true, Wrong::Nowhere) => Health::Draining,
        (false, _) => Health::Unready,
    }
}
