//! Makes services from Service objects and EndpointSlices.
//!
//! The endpoints of a service are the union of all its slices. Slices are kept by name: an endpoint
//! that moves from one slice to another is in both or in neither for a moment, and events of slices
//! may come before or after that of their Service. So every object is kept as it came, and a
//! service is made anew from all of its objects whenever one of them changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    num::NonZeroU64,
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    endpoint_slice::{Family, Protocol, Slice, SliceEndpoint},
    service::KubeService,
};
use crate::catalog::{Eligibility, Endpoint, NodeScope, Port, Service, ServiceName};

/// Service objects and slices by name.
#[derive(Clone, Debug, Default)]
pub struct SliceUnion {
    services: BTreeMap<ServiceName, KubeService>,
    slices: BTreeMap<ServiceName, BTreeMap<Arc<str>, Slice>>,
    /// The last known service of a slice (by namespace and name), since its label may change.
    owners: HashMap<(Arc<str>, Arc<str>), ServiceName>,
}

impl SliceUnion {
    /// Adds a Service object. Returns the service that it changes.
    pub fn put_service(&mut self, service: KubeService) -> ServiceName {
        let name = service.name.clone();
        self.services.insert(name.clone(), service);
        name
    }

    /// Removes a Service object. Its slices may outlive it for a moment.
    pub fn remove_service(&mut self, name: &ServiceName) {
        self.services.remove(name);
    }

    /// Adds a slice. Returns the services that it changes: two, if its service changed.
    pub fn put_slice(&mut self, slice: Slice) -> Vec<ServiceName> {
        let key = (slice.service.namespace.clone(), slice.name.clone());
        let before = self.owners.insert(key, slice.service.clone());
        let mut touched = vec![slice.service.clone()];
        if let Some(before) = before.filter(|before| *before != slice.service) {
            self.drop_slice(&before, &slice.name);
            touched.push(before);
        }
        self.slices.entry(slice.service.clone()).or_default().insert(slice.name.clone(), slice);
        touched
    }

    /// Removes a slice. Returns the service that it changes.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) -> Option<ServiceName> {
        let owner = self.owners.remove(&(namespace.into(), name.into()))?;
        self.drop_slice(&owner, name);
        Some(owner)
    }

    fn drop_slice(&mut self, service: &ServiceName, name: &str) {
        if let Some(slices) = self.slices.get_mut(service) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(service);
            }
        }
    }

    /// A slice, by its own name.
    pub(crate) fn slice(&self, namespace: &str, name: &str) -> Option<&Slice> {
        let owner = self.owners.get(&(namespace.into(), name.into()))?;
        self.slices.get(owner)?.get(name)
    }

    /// The labels of its pods that a service names. None: it has no Service object.
    pub(crate) fn pod_labels(&self, name: &ServiceName) -> Option<&BTreeSet<Arc<str>>> {
        self.services.get(name).map(|object| &object.pod_labels)
    }

    /// All services with a Service object or a slice.
    pub fn names(&self) -> BTreeSet<ServiceName> {
        self.services.keys().chain(self.slices.keys()).cloned().collect()
    }

    /// The service as it is now. None: it has neither a Service object nor a slice.
    pub fn service(&self, name: &ServiceName, source: &Arc<str>) -> Option<Service> {
        let object = self.services.get(name);
        let slices = self.slices.get(name);
        if object.is_none() && slices.is_none() {
            return None;
        }
        let slices: Vec<&Slice> = slices.into_iter().flat_map(BTreeMap::values).collect();
        let mut service = Service::new(name.clone(), source.clone(), Vec::new());
        if let Some(object) = object {
            service.uid.clone_from(&object.uid);
            service.eligibility = Self::eligibility(object);
            service.settings.clone_from(&object.settings);
            service.fallback.clone_from(&object.fallback);
            service.notes.clone_from(&object.notes);
            let preferred = object.families.first().copied().unwrap_or(Family::Ipv4);
            for port in &object.ports {
                let endpoints = union(&slices, port.name.as_ref(), port.protocol, preferred);
                let endpoints: Arc<[Endpoint]> = endpoints.map(SliceAddress::endpoint).collect();
                let (name, number) = (port.name.clone(), Some(port.number));
                service.ports.push(Port { name, number, endpoints });
            }
        } else {
            for (name, protocol) in ports_of(&slices) {
                let endpoints = union(&slices, name.as_ref(), protocol, Family::Ipv4);
                let endpoints = endpoints.map(SliceAddress::endpoint).collect();
                service.ports.push(Port { name, number: None, endpoints });
            }
        }
        for slice in slices {
            let note =
                |wrong| format!("a port of EndpointSlice {} is left out: {wrong}", slice.name);
            service.notes.extend(slice.wrong.iter().map(note));
        }
        Some(service)
    }

    /// Which endpoints of the slices may serve, by the Service's fields.
    fn eligibility(object: &KubeService) -> Eligibility {
        let nodes = match (object.external, object.local) {
            (true, _) => NodeScope::Nowhere,
            (false, true) => NodeScope::OwnNode,
            (false, false) => NodeScope::Everywhere,
        };
        Eligibility {
            nodes,
            family: match object.families[..] {
                [only] => Some(only),
                _ => None,
            },
            all_ready: object.publish_not_ready,
            ports_said: true,
        }
    }
}

/// One slice's endpoint at one of the slice's ports.
struct SliceAddress<'a> {
    endpoint: &'a SliceEndpoint,
    address: SocketAddr,
    family: Family,
}

impl SliceAddress<'_> {
    fn endpoint(self) -> Endpoint {
        Endpoint {
            zone: self.endpoint.zone.clone(),
            node: self.endpoint.node.clone(),
            health: self.endpoint.health,
            hints: self.endpoint.hints.clone(),
            pod: self.endpoint.uid.as_deref().map(pod_key),
            ..Endpoint::at(self.address)
        }
    }
}

/// A hash of a pod's uid, which takes an eighth of its memory.
pub(crate) fn pod_key(uid: &str) -> NonZeroU64 {
    NonZeroU64::new(xxh3_64(uid.as_bytes())).unwrap_or(NonZeroU64::MIN)
}

/// The ports of a service without a Service object yet. Their numbers are the endpoints', not the
/// service's.
fn ports_of(slices: &[&Slice]) -> BTreeSet<(Option<Arc<str>>, Protocol)> {
    let ports = slices.iter().flat_map(|slice| &slice.ports);
    ports.map(|port| (port.name.clone(), port.protocol)).collect()
}

/// The endpoints that all slices together have for a port, each once, by address.
///
/// - Ports match by name: pods may have different numbers for a named port, in different slices.
/// - Another port at the same address is another endpoint. For the same port the healthiest entry
///   counts: the others are of a pod that went, or from a slice that lags behind.
/// - A pod in slices of both families is one endpoint, in the preferred family if possible. As two it
///   would get twice its load.
fn union<'a>(
    slices: &[&'a Slice],
    name: Option<&Arc<str>>,
    protocol: Protocol,
    preferred: Family,
) -> impl Iterator<Item = SliceAddress<'a>> + use<'a> {
    let mut by_address: BTreeMap<SocketAddr, SliceAddress<'a>> = BTreeMap::new();
    let mut in_preferred: HashSet<&'a str> = HashSet::new();
    for slice in slices {
        let matching =
            slice.ports.iter().filter(|it| it.name.as_ref() == name && it.protocol == protocol);
        for (port, endpoint) in
            matching.flat_map(|port| slice.endpoints.iter().map(move |e| (port, e)))
        {
            if let Some(uid) = endpoint.uid.as_deref().filter(|_| slice.family == preferred) {
                in_preferred.insert(uid);
            }
            let address = SocketAddr::new(endpoint.ip, port.number);
            let found = SliceAddress { endpoint, address, family: slice.family };
            match by_address.get(&address) {
                Some(known) if known.endpoint.health <= endpoint.health => {}
                _ => {
                    by_address.insert(address, found);
                }
            }
        }
    }
    by_address.into_values().filter(move |found| {
        let twin = found.endpoint.uid.as_deref().is_some_and(|uid| in_preferred.contains(uid));
        found.family == preferred || !twin
    })
}

#[cfg(test)]
mod grid_tests;
#[cfg(test)]
mod purpose_tests;
#[cfg(test)]
mod tests;
