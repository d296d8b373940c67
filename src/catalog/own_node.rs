//! Services that are for callers on an endpoint's own node: `internalTrafficPolicy: Local`.
//!
//! A source tells it by a flag, since the same services go to all nodes. A catalog on a node leaves the
//! other nodes' endpoints out, before anything else is decided. A catalog of a control plane is on no
//! node, and passes the flag on.

use std::sync::Arc;

use super::model::{Eligibility, NodeScope, Service};

/// Where a catalog's readers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// On many nodes.
    #[default]
    Fleet,
    /// On one node; None: nobody said on which.
    Node(Option<Arc<str>>),
}

impl Standing {
    /// Says which node is the own one, and notes how many endpoints that leaves.
    pub(super) fn apply(&self, service: &mut Service) {
        let Self::Node(node) = self else { return };
        if service.eligibility.nodes != NodeScope::OwnNode {
            return;
        }
        let Some(node) = node else {
            service.eligibility.nodes = NodeScope::Nowhere;
            service.notes.push(
                "internalTrafficPolicy Local: start the agent with its node's name, or none of the \
                 endpoints can be used"
                    .to_owned(),
            );
            return;
        };
        service.eligibility.nodes = NodeScope::Node(node.clone());
        let anywhere = Eligibility { nodes: NodeScope::Everywhere, ..service.eligibility.clone() };
        let count = |eligibility: &Eligibility, port: usize| {
            let endpoints = &service.ports[port].endpoints;
            endpoints.iter().filter(|endpoint| eligibility.admits(endpoint)).count()
        };
        let mut notes = Vec::new();
        for port in 0..service.ports.len() {
            let (here, known) = (count(&service.eligibility, port), count(&anywhere, port));
            let note = format!(
                "internalTrafficPolicy Local: {here} of {known} endpoints are on this node ({node})"
            );
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        service.notes.extend(notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{
        Catalog, Change, Endpoint, SourceId,
        sample::{endpoint, service},
    };

    fn told_to(catalog: Catalog) -> Arc<Service> {
        let on = |last, node: &str| Endpoint { node: Some(node.into()), ..endpoint(last) };
        let mut local = service("cart.shop", [on(1, "n1"), on(2, "n2"), endpoint(3)]);
        local.eligibility.nodes = NodeScope::OwnNode;
        catalog.apply(SourceId(0), Change::Upsert(local), Default::default());
        catalog.get(&"cart.shop".parse().unwrap()).unwrap()
    }

    fn addresses(service: &Service) -> Vec<String> {
        service.ports[0].endpoints.iter().map(|it| it.address.ip().to_string()).collect()
    }

    #[test]
    fn on_a_node_only_its_own_endpoints_are_there_and_a_note_counts_them() {
        let here = told_to(Catalog::new(["test"]).on_node(Some("n1".into())));
        assert_eq!(addresses(&here), ["10.0.0.1"]);
        assert_eq!(
            here.notes,
            ["internalTrafficPolicy Local: 1 of 3 endpoints are on this node (n1)"]
        );
    }

    #[test]
    fn on_a_node_without_a_name_there_is_none_and_a_note_says_why() {
        let nowhere = told_to(Catalog::new(["test"]).on_node(None));
        assert!(addresses(&nowhere).is_empty());
        assert!(nowhere.notes[0].contains("start the agent with its node's name"));
    }

    #[test]
    fn a_catalog_on_no_node_has_all_and_the_flag() {
        let fleet = told_to(Catalog::new(["test"]));
        assert_eq!(addresses(&fleet).len(), 3);
        assert_eq!(fleet.eligibility.nodes, NodeScope::OwnNode);
        assert!(fleet.notes.is_empty(), "{:?}", fleet.notes);
    }
}
