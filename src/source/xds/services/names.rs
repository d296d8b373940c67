//! The names that a control plane has told: the services of each namespace, and their ports.

use std::collections::{BTreeMap, HashSet};

use ::xds::Name;

use crate::{
    catalog::{PortRef, ServiceName, ServiceRef},
    discovery::{
        agent::read::{Named, NamedPort},
        names::namespace_of,
    },
};

/// The most names that a control plane may tell: of services and their ports together. Each takes some 200
/// bytes. A wrong or malicious server must not fill the node's memory.
pub(super) const MOST_NAMES: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// The services of each namespace, by its resource's name.
    namespaces: BTreeMap<Name, BTreeMap<ServiceName, Vec<NamedPort>>>,
    /// How many names all of them have.
    count: usize,
    /// Services of an earlier run, of namespaces that have not been told yet.
    kept: BTreeMap<Name, Vec<ServiceName>>,
}

/// How names changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NameChanges {
    pub(super) added: Vec<ServiceName>,
    /// These have other ports.
    pub(super) changed: Vec<ServiceName>,
    pub(super) removed: Vec<ServiceName>,
}

impl Names {
    /// `unconfirmed`: the services of an earlier run.
    pub(super) fn new(unconfirmed: Vec<ServiceName>) -> Self {
        let mut kept: BTreeMap<Name, Vec<ServiceName>> = BTreeMap::new();
        for name in unconfirmed {
            kept.entry(namespace_of(&name).into()).or_default().push(name);
        }
        Self { kept, ..Self::default() }
    }

    pub(super) fn ports(&self, name: &ServiceName) -> Option<&Vec<NamedPort>> {
        self.namespaces.get(&*namespace_of(name))?.get(name)
    }

    /// Whether anything is known of a namespace.
    pub(super) fn know(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace) || self.kept.contains_key(namespace)
    }

    /// The services of an earlier run, by namespaces that have not been told yet.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&Name, &Vec<ServiceName>)> {
        self.kept.iter()
    }

    /// The room for the names that one response tells, beside so many others that were told and do not count yet.
    pub(super) fn room(&self, others: usize) -> Room<'_> {
        Room { names: self, taken: self.count + others }
    }

    /// Replaces the names of a namespace.
    pub(super) fn replace(&mut self, namespace: &Name, services: Vec<Named>) -> NameChanges {
        let services: BTreeMap<ServiceName, Vec<NamedPort>> =
            services.into_iter().map(|named| (named.service, named.ports)).collect();
        let mut changes = NameChanges::default();
        let mut before = self.namespaces.remove(namespace).unwrap_or_default();
        self.count -= size_of(&before);
        self.count += size_of(&services);
        let kept = self.kept.remove(namespace).unwrap_or_default().into_iter();
        let gone = |name: &ServiceName| !services.contains_key(name) && !before.contains_key(name);
        changes.removed.extend(kept.filter(gone));
        for (name, ports) in &services {
            match before.remove(name) {
                None => changes.added.push(name.clone()),
                Some(before) if before != *ports => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        if !services.is_empty() {
            self.namespaces.insert(namespace.clone(), services);
        }
        changes.removed.extend(before.into_keys());
        changes
    }

    /// The cluster's name is that of a service and a port, which are there from now on.
    pub(super) fn add_port(&mut self, cluster: &Name) -> NameChanges {
        let mut changes = NameChanges::default();
        // [`Room::cluster`] refused other names.
        let Ok(ServiceRef { service, port }) = cluster.parse() else { return changes };
        let (name, number) = match port {
            Some(PortRef::Name(name)) => (Some(name), None),
            Some(PortRef::Number(number)) => (None, Some(number)),
            None => (None, None),
        };
        let services = self.namespaces.entry(namespace_of(&service).into()).or_default();
        let ports = services.entry(service.clone()).or_insert_with(|| {
            changes.added.push(service.clone());
            Vec::new()
        });
        if ports.iter().all(|port| port.cluster != *cluster) {
            self.count += 1 + usize::from(ports.is_empty());
            ports.push(NamedPort { name, number, cluster: cluster.clone() });
            ports.sort_by(|one, other| one.cluster.cmp(&other.cluster));
            changes.changed.push(service);
        }
        changes
    }

    pub(super) fn remove_port(&mut self, cluster: &Name) -> NameChanges {
        let mut changes = NameChanges::default();
        let Ok(ServiceRef { service, .. }) = cluster.parse() else { return changes };
        let namespace = namespace_of(&service);
        let Some(services) = self.namespaces.get_mut(&*namespace) else { return changes };
        let Some(ports) = services.get_mut(&service) else { return changes };
        let before = size(ports);
        ports.retain(|port| port.cluster != *cluster);
        self.count -= before - if ports.is_empty() { 0 } else { size(ports) };
        if ports.is_empty() {
            services.remove(&service);
            if services.is_empty() {
                self.namespaces.remove(&*namespace);
            }
            changes.removed.push(service);
        }
        changes
    }
}

/// What is left of [`MOST_NAMES`] while a response is read.
pub(super) struct Room<'a> {
    names: &'a Names,
    /// How many names there are with those that the response has told so far.
    taken: usize,
}

impl Room<'_> {
    /// Takes the room for a namespace's services. Err: what is wrong with them.
    pub(super) fn namespace(&mut self, name: &str, services: &[Named]) -> Result<(), String> {
        let before = self.names.namespaces.get(name).map_or(0, size_of);
        let now = count(services);
        if self.taken - before + now > MOST_NAMES {
            return Err(too_many());
        }
        let mut seen = HashSet::new();
        if let Some(named) = services.iter().find(|named| !seen.insert(&named.service)) {
            return Err(format!("it names {} twice", named.service));
        }
        self.taken = self.taken - before + now;
        Ok(())
    }

    /// How many names this cluster adds, of a service and a port. Err: what is wrong with its name.
    pub(super) fn cluster(&self, name: &str) -> Result<usize, String> {
        let ServiceRef { service, .. } = name.parse().map_err(|error| {
            format!("its name is not that of a service and a port, such as cart.shop:8080: {error}")
        })?;
        let ports = self.names.ports(&service);
        let known = ports.is_some_and(|ports| ports.iter().any(|port| *port.cluster == *name));
        let added = if known { 0 } else { 2 };
        if self.taken + added > MOST_NAMES {
            return Err(too_many());
        }
        Ok(added)
    }

    /// Takes the room for these names.
    pub(super) fn take(&mut self, names: usize) {
        self.taken += names;
    }
}

fn too_many() -> String {
    format!(
        "with it there are more than {MOST_NAMES} services and ports, which is the most: give this node a \
         control plane with fewer"
    )
}

/// The names of a service with these ports.
fn size(ports: &[NamedPort]) -> usize {
    1 + ports.len()
}

/// The names of all services of a namespace.
pub(super) fn count(services: &[Named]) -> usize {
    services.iter().map(|named| size(&named.ports)).sum()
}

fn size_of(services: &BTreeMap<ServiceName, Vec<NamedPort>>) -> usize {
    services.values().map(|ports| size(ports)).sum()
}
