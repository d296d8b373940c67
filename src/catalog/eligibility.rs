//! On which terms a source lists endpoints: which of them are to serve here, and as what.
//!
//! The list and its terms are kept apart, since they say different things when they change. What
//! somebody asks for (only this node's endpoints, none at all, ports that are no more) is meant, and
//! obeyed at once. What vanishes from the list may be a mistake, and that is what the
//! [brake](super::brake) is for: it compares lists, and holds nothing that the terms rule out.

use std::sync::Arc;

use super::model::{Eligibility, Endpoint, Family, Health, NodeScope, Service};

impl Eligibility {
    /// Whether an endpoint is to serve, if it can.
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        let here = match &self.nodes {
            NodeScope::Everywhere => true,
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
    /// Whether it is to be served just as it is listed.
    pub fn all_eligible(&self) -> bool {
        self.ports.iter().all(|port| self.eligibility.change_nothing(&port.endpoints))
    }

    /// The service as it is to be served.
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
