//! Services that stand in for another one: their endpoints follow its own, with later priorities.
//!
//! What stands in for a fallback does not count, so that two services may name each other.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    model::{Endpoint, NodeScope, Port, Service},
    name::ServiceName,
};

/// Which services name which as their fallbacks.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    named_by: HashMap<ServiceName, BTreeSet<ServiceName>>,
    of: HashMap<ServiceName, Vec<ServiceName>>,
}

impl Fallbacks {
    /// Records the fallbacks of a service.
    pub(super) fn set(&mut self, name: &ServiceName, fallbacks: &[ServiceName]) {
        // Few services have one.
        let known = self.of.get(name).map_or(&[][..], Vec::as_slice);
        if known == fallbacks {
            return;
        }
        for before in self.of.remove(name).unwrap_or_default() {
            if let Some(named_by) = self.named_by.get_mut(&before) {
                named_by.remove(name);
                if named_by.is_empty() {
                    self.named_by.remove(&before);
                }
            }
        }
        for fallback in fallbacks {
            self.named_by.entry(fallback.clone()).or_default().insert(name.clone());
        }
        if !fallbacks.is_empty() {
            self.of.insert(name.clone(), fallbacks.to_vec());
        }
    }

    /// The services that name this one.
    pub(super) fn named_by(&self, name: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.named_by.get(name).into_iter().flatten()
    }
}

/// Adds the endpoints of its fallbacks to a service, and notes how many they are. `known`: each fallback as
/// its own source tells it.
pub(super) fn add(service: &mut Service, known: impl Fn(&ServiceName) -> Option<Service>) {
    let own_node = |service: &Service| service.eligibility.nodes == NodeScope::OwnNode;
    for (priority, name) in (1..).zip(service.fallback.clone()) {
        let fallback = known(&name);
        let wrong = match &fallback {
            _ if name == service.name => "a service can't stand in for itself",
            None => "its endpoints are not known",
            Some(fallback) if own_node(fallback) || own_node(service) => {
                "a service with internalTrafficPolicy Local has no fallback, and is none"
            }
            Some(fallback) => {
                add_endpoints(service, fallback, priority);
                continue;
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
        let known: HashSet<_> = port.endpoints.iter().map(|own| own.address).collect();
        let added: Vec<Endpoint> = (theirs.endpoints.iter())
            .filter(|each| each.priority == 0 && !known.contains(&each.address))
            .map(|each| Endpoint { priority, ..each.clone() })
            .collect();
        service.notes.push(format!("{of}: {} endpoints, with priority {priority}", added.len()));
        port.endpoints = port.endpoints.iter().cloned().chain(added).collect();
    }
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
