//! Which of the listed endpoints may serve on this node, and with which health.
//!
//! The list and its eligibility rules are separate, since a change of them means different things.
//! A change of the rules (only this node's endpoints, no endpoints, a port that is gone) is
//! intended and takes effect at once. An endpoint that vanishes from the list may be a mistake. The
//! [brake](super::brake) compares lists only, and never holds an endpoint that the rules exclude.

use std::sync::Arc;

use super::model::{Eligibility, Endpoint, Family, Health, NodeScope, Service};

impl Eligibility {
    /// Whether an endpoint may serve, if it is healthy.
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        let here = match &self.nodes {
            // Whoever is on a node leaves out the others.
            NodeScope::Everywhere | NodeScope::OwnNode => true,
            NodeScope::Node(node) => endpoint.node.as_ref() == Some(node),
            NodeScope::Nowhere => false,
        };
        let family = match endpoint.address.is_ipv4() {
            true => Family::Ipv4,
            false => Family::Ipv6,
        };
        here && self.family.is_none_or(|only| only == family)
    }

    /// Whether an endpoint takes traffic.
    pub fn takes_traffic(&self, endpoint: &Endpoint) -> bool {
        let ready = self.all_ready || endpoint.health == Health::Ready;
        ready && endpoint.weight > 0 && self.admits(endpoint)
    }

    fn change_nothing(&self, endpoints: &[Endpoint]) -> bool {
        let as_it_is = |it: &Endpoint| !self.all_ready || it.health == Health::Ready;
        endpoints.iter().all(|endpoint| self.admits(endpoint) && as_it_is(endpoint))
    }

    fn apply(&self, endpoints: &Arc<[Endpoint]>) -> Arc<[Endpoint]> {
        if self.change_nothing(endpoints) {
            return endpoints.clone();
        }
        let admitted = endpoints.iter().filter(|endpoint| self.admits(endpoint)).cloned();
        admitted
            .map(|endpoint| match self.all_ready {
                true => Endpoint { health: Health::Ready, ..endpoint },
                false => endpoint,
            })
            .collect()
    }
}

impl Service {
    /// Whether every listed endpoint serves as it is.
    pub fn all_eligible(&self) -> bool {
        self.ports.iter().all(|port| self.eligibility.change_nothing(&port.endpoints))
    }

    /// The service with its eligible endpoints only.
    #[must_use]
    pub fn with_eligible_endpoints(&self) -> Self {
        let mut service = self.clone();
        for port in &mut service.ports {
            port.endpoints = service.eligibility.apply(&port.endpoints);
        }
        service
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::{endpoint, service};

    #[test]
    fn terms_that_rule_nothing_out_cost_no_copy() {
        let service = service("cart.shop", [endpoint(1), endpoint(2)]);
        let on_terms = service.with_eligible_endpoints();
        assert!(Arc::ptr_eq(&service.ports[0].endpoints, &on_terms.ports[0].endpoints));
    }

    #[test]
    fn what_is_unready_is_kept_as_it_is_and_takes_no_traffic() {
        let unready = Endpoint { health: Health::Unready, ..endpoint(1) };
        let mut service = service("cart.shop", [unready.clone(), endpoint(2)]);
        assert_eq!(service.with_eligible_endpoints().ports[0].endpoints[0], unready);
        assert!(!service.eligibility.takes_traffic(&unready));
        service.eligibility.all_ready = true;
        assert_eq!(
            *service.with_eligible_endpoints().ports[0].endpoints,
            [endpoint(1), endpoint(2)]
        );
        assert!(service.eligibility.takes_traffic(&unready));
    }
}
