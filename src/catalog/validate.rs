//! Establishes what other code relies on: a service has at least one port, and the addresses of a
//! port are distinct.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::model::{Endpoint, Port, Service};

/// Repairs a service by rules that don't depend on the order of arrival, and notes what it dropped.
///
/// Of entries with the same address the healthiest counts. If a pod goes and another one comes up on
/// the same address, the second is right; a slice that lags behind shows one pod twice. Of equally
/// healthy entries the first in the source's order counts.
pub(super) fn mend(service: &mut Service) {
    if service.ports.is_empty() {
        service.ports.push(Port { name: None, number: None, endpoints: Arc::from([]) });
    }
    let mut dropped = 0;
    for port in &mut service.ports {
        dropped += distinct(port);
    }
    if dropped > 0 {
        service.notes.push(format!(
            "{dropped} endpoints have the address of another endpoint of the same port; only the \
             healthiest of them counts"
        ));
    }
}

fn distinct(port: &mut Port) -> usize {
    let mut best: HashMap<SocketAddr, usize> = HashMap::with_capacity(port.endpoints.len());
    for (index, endpoint) in port.endpoints.iter().enumerate() {
        let kept = best.entry(endpoint.address).or_insert(index);
        if endpoint.health < port.endpoints[*kept].health {
            *kept = index;
        }
    }
    let dropped = port.endpoints.len() - best.len();
    if dropped > 0 {
        let all = std::mem::take(&mut port.endpoints);
        port.endpoints = all
            .iter()
            .enumerate()
            .filter(|(index, endpoint)| best[&endpoint.address] == *index)
            .map(|(_, endpoint): (usize, &Endpoint)| endpoint.clone())
            .collect();
    }
    dropped
}
