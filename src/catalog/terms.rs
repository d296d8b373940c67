//! On which terms a source lists endpoints: which of them are to serve here, and as what.
//!
//! The list and its terms are kept apart, since they say different things when they change. What
//! somebody asks for (only this node's endpoints, none at all, ports that are no more) is meant, and
//! obeyed at once. What vanishes from the list may be a mistake, and that is what the
//! [brake](super::brake) is for: it compares lists, and holds nothing that the terms rule out.

use std::sync::Arc;

use super::model::{Endpoint, Family, Health, Reach, Service, Terms};

impl Terms {
    /// Whether an endpoint is to serve, if it can.
    pub fn admit(&self, endpoint: &Endpoint) -> bool {
        let here = match &self.reach {
            Reach::Everywhere => true,
            Reach::Node(node) => endpoint.node.as_ref() == Some(node),
            Reach::Nowhere => false,
        };
        let family = match endpoint.address.is_ipv4() {
            true => Family::Ipv4,
            false => Family::Ipv6,
        };
        here && self.family.is_none_or(|only| only == family)
    }

    /// Whether an endpoint takes traffic.
    pub fn serve(&self, endpoint: &Endpoint) -> bool {
        let ready = self.all_ready || endpoint.health == Health::Ready;
        ready && endpoint.weight > 0 && self.admit(endpoint)
    }

    fn change_nothing(&self, endpoints: &[Endpoint]) -> bool {
        let as_it_is = |it: &Endpoint| !self.all_ready || it.health == Health::Ready;
        endpoints.iter().all(|endpoint| self.admit(endpoint) && as_it_is(endpoint))
    }

    fn apply(&self, endpoints: &Arc<[Endpoint]>) -> Arc<[Endpoint]> {
        if self.change_nothing(endpoints) {
            return endpoints.clone();
        }
        let admitted = endpoints.iter().filter(|endpoint| self.admit(endpoint)).cloned();
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
    pub fn is_on_its_terms(&self) -> bool {
        self.ports.iter().all(|port| self.terms.change_nothing(&port.endpoints))
    }

    /// The service as it is to be served.
    #[must_use]
    pub fn on_its_terms(&self) -> Self {
        let mut service = self.clone();
        for port in &mut service.ports {
            port.endpoints = service.terms.apply(&port.endpoints);
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
        let on_terms = service.on_its_terms();
        assert!(Arc::ptr_eq(&service.ports[0].endpoints, &on_terms.ports[0].endpoints));
    }

    #[test]
    fn what_is_unready_is_kept_as_it_is_and_takes_no_traffic() {
        let unready = Endpoint { health: Health::Unready, ..endpoint(1) };
        let mut service = service("cart.shop", [unready.clone(), endpoint(2)]);
        assert_eq!(service.on_its_terms().ports[0].endpoints[0], unready);
        assert!(!service.terms.serve(&unready));
        service.terms.all_ready = true;
        assert_eq!(*service.on_its_terms().ports[0].endpoints, [endpoint(1), endpoint(2)]);
        assert!(service.terms.serve(&unready));
    }
}
