//! Services that stand in for another one: their endpoints follow its own, with later priorities.
//!
//! What stands in for a fallback does not count, so that two services may name each other.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    model::{Endpoint, Health, NodeScope, Port, Service},
    name::ServiceName,
};

/// The most services for which one stands in. Each of them has its endpoints, so that a change of one endpoint
/// is a change of as many services. Range 1 to 1,000.
const MOST_FOR_ONE: usize = 64;

/// Which services name which as their fallbacks.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    /// For each fallback the services for which it stands in.
    named_by: HashMap<ServiceName, BTreeSet<ServiceName>>,
    /// For each service its fallbacks.
    of: HashMap<ServiceName, Vec<ServiceName>>,
}

impl Fallbacks {
    /// Records the fallbacks that a service names, and admits those that do not stand in for too many others
    /// already.
    pub(super) fn set(&mut self, name: &ServiceName, named: &[ServiceName]) {
        // Few services have one.
        if named.is_empty() && !self.of.contains_key(name) {
            return;
        }
        for before in self.of.remove(name).unwrap_or_default() {
            if named.contains(&before) {
                continue;
            }
            if let Some(named_by) = self.named_by.get_mut(&before) {
                named_by.remove(name);
                if named_by.is_empty() {
                    self.named_by.remove(&before);
                }
            }
        }
        let mut admitted = Vec::with_capacity(named.len());
        for fallback in named.iter().filter(|fallback| *fallback != name) {
            let named_by = self.named_by.entry(fallback.clone()).or_default();
            if named_by.contains(name) || named_by.len() < MOST_FOR_ONE {
                named_by.insert(name.clone());
                admitted.push(fallback.clone());
            }
        }
        if !admitted.is_empty() {
            self.of.insert(name.clone(), admitted);
        }
    }

    /// The fallbacks of a service that were admitted.
    pub(super) fn of(&self, name: &ServiceName) -> &[ServiceName] {
        self.of.get(name).map_or(&[], Vec::as_slice)
    }

    /// The services that name this one.
    pub(super) fn named_by(&self, name: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.named_by.get(name).into_iter().flatten()
    }
}

/// Adds the endpoints of its fallbacks to a service, and notes how many they are. `admitted`: those of
/// [`Fallbacks::of`]; `known`: each as its own source tells it.
pub(super) fn add(
    service: &mut Service,
    admitted: &[ServiceName],
    known: impl Fn(&ServiceName) -> Option<Service>,
) {
    let own_node = |service: &Service| service.eligibility.nodes == NodeScope::OwnNode;
    for (priority, name) in (1..).zip(service.fallback.clone()) {
        let wrong = if name == service.name {
            "a service can't stand in for itself".to_owned()
        } else if !admitted.contains(&name) {
            format!("it stands in for {MOST_FOR_ONE} other services, which is the most")
        } else {
            match known(&name) {
                None => "its endpoints are not known".to_owned(),
                Some(fallback) if own_node(&fallback) || own_node(service) => {
                    "a service with internalTrafficPolicy Local has no fallback, and is none"
                        .to_owned()
                }
                Some(fallback) => {
                    add_endpoints(service, &fallback, priority);
                    continue;
                }
            }
        };
        service.notes.push(format!("fallback {name}: {wrong}"));
    }
}

fn add_endpoints(service: &mut Service, fallback: &Service, priority: u8) {
    let several = service.ports.len() > 1;
    for port in &mut service.ports {
        let of = match (several, &port.name) {
            (true, Some(port)) => format!("fallback {}, port {port}", fallback.name),
            _ => format!("fallback {}", fallback.name),
        };
        let Some(theirs) = matching(port, fallback) else {
            service.notes.push(format!("{of}: it has no such port"));
            continue;
        };
        // A pod that moved from one service to the other is the fallback's.
        let ready = theirs.endpoints.iter().filter(|each| serves(each));
        let ready: HashSet<_> = ready.map(|each| each.address).collect();
        let stays = |own: &&Endpoint| serves(own) || !ready.contains(&own.address);
        let own: Vec<Endpoint> = port.endpoints.iter().filter(stays).cloned().collect();
        let known: HashSet<_> = own.iter().map(|own| own.address).collect();
        let added: Vec<Endpoint> = (theirs.endpoints.iter())
            .filter(|each| each.priority == 0 && !known.contains(&each.address))
            .map(|each| Endpoint { priority, ..each.clone() })
            .collect();
        service.notes.push(format!("{of}: {} endpoints, with priority {priority}", added.len()));
        port.endpoints = own.into_iter().chain(added).collect();
    }
}

fn serves(endpoint: &Endpoint) -> bool {
    endpoint.health == Health::Ready && !endpoint.braked
}

/// The port that serves what `port` does: the one with its name, or with its number if it has no name. If
/// one of the two has no name, an only port is the same.
fn matching<'a>(port: &Port, fallback: &'a Service) -> Option<&'a Port> {
    let same = |other: &&Port| match &port.name {
        Some(_) => other.name == port.name,
        None => other.number == port.number,
    };
    fallback.ports.iter().find(same).or(match &fallback.ports[..] {
        [only] if port.name.is_none() || only.name.is_none() => Some(only),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
