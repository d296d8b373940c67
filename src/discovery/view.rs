//! The part of the snapshot that a kind of client gets.

use xds::{
    Name, Published, Resource, Resources,
    proto::{envoy::config::core::v3::Node, pack},
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER},
};

use super::{assignment::assignment, grpc};

/// What a client is, by what its node says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKind {
    /// Stock gRPC, or another client that follows names from a listener to endpoints.
    #[default]
    Grpc,
    /// Envoy, whose clusters come from its own bootstrap or from another control plane.
    Envoy,
}

impl ClientKind {
    pub fn of(node: &Node) -> Self {
        if node.user_agent_name.starts_with("envoy") { Self::Envoy } else { Self::Grpc }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Envoy => "envoy",
        }
    }
}

/// The snapshot, as a client of this kind may see it.
pub struct View<'a> {
    pub resources: &'a Resources,
    pub kind: ClientKind,
}

impl View<'_> {
    /// What a client gets for a name that is no service, where it would wait for one otherwise.
    fn instead(&self, type_url: &str, name: &str) -> Option<Resource> {
        let empty = || Resource::new(name, pack(&assignment(name, &[])).value);
        match (self.kind, type_url) {
            // Envoy takes no requests before it has each cluster's assignment, and ignores the removal of
            // one.
            (ClientKind::Envoy, ASSIGNMENT) => Some(empty()),
            (ClientKind::Grpc, LISTENER) => Some(grpc::listener_of_no_service(name)),
            (ClientKind::Grpc, CLUSTER) => (name == grpc::NO_SERVICE).then(|| grpc::cluster(name)),
            (ClientKind::Grpc, ASSIGNMENT) => (name == grpc::NO_SERVICE).then(empty),
            _ => None,
        }
    }

    fn shows(&self, type_url: &str) -> bool {
        self.kind == ClientKind::Grpc || type_url == ASSIGNMENT
    }
}

impl Published for View<'_> {
    fn revision(&self) -> u64 {
        self.resources.revision()
    }

    fn get(&self, type_url: &str, name: &str) -> Option<Resource> {
        let found = self.shows(type_url).then(|| self.resources.get(type_url, name)).flatten();
        found.or_else(|| self.instead(type_url, name))
    }

    fn names(&self, type_url: &str) -> impl Iterator<Item = Name> {
        self.resources.names(type_url).filter(|_| self.shows(type_url))
    }

    fn changed_since(&self, type_url: &str, revision: u64) -> Option<impl Iterator<Item = &Name>> {
        self.resources.changed_since(type_url, revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(agent: &str) -> Node {
        Node { user_agent_name: agent.into(), ..Node::default() }
    }

    #[test]
    fn a_client_is_known_by_its_user_agent() {
        assert_eq!(ClientKind::of(&node("envoy")), ClientKind::Envoy);
        for other in ["gRPC Go", "gRPC C-core linux", "", "another"] {
            assert_eq!(ClientKind::of(&node(other)), ClientKind::Grpc, "{other}");
        }
    }

    #[test]
    fn an_envoy_gets_assignments_alone_and_an_empty_one_for_what_is_no_service() {
        let mut resources = Resources::default();
        for type_url in [ASSIGNMENT, CLUSTER, LISTENER] {
            resources.set(type_url, Resource::new("cart.shop:80", "1"));
        }
        let seen = |kind, type_url, name: &str| {
            View { resources: &resources, kind }.get(type_url, name).map(|it| it.body.len())
        };
        assert_eq!(seen(ClientKind::Envoy, ASSIGNMENT, "cart.shop:80"), Some(1));
        let empty = seen(ClientKind::Envoy, ASSIGNMENT, "other");
        assert_eq!(empty, Some(7), "its name, and nothing else");
        assert_eq!(seen(ClientKind::Envoy, CLUSTER, "cart.shop:80"), None);
        assert_eq!(seen(ClientKind::Grpc, CLUSTER, "cart.shop:80"), Some(1));
        assert_eq!(seen(ClientKind::Grpc, ASSIGNMENT, "other"), None);
        assert_eq!(seen(ClientKind::Grpc, CLUSTER, "other"), None);
        assert_eq!(seen(ClientKind::Grpc, LISTENER, "cart.shop:80"), Some(1));
        let envoy = View { resources: &resources, kind: ClientKind::Envoy };
        assert_eq!((envoy.names(LISTENER).count(), envoy.names(ASSIGNMENT).count()), (0, 1));
    }

    #[test]
    fn grpc_finds_its_way_from_what_is_no_service_to_no_endpoints() {
        let resources = Resources::default();
        let view = View { resources: &resources, kind: ClientKind::Grpc };
        let listener = view.get(LISTENER, "other").expect("a listener without a route for calls");
        let text = String::from_utf8_lossy(&listener.body).into_owned();
        assert!(text.contains(grpc::NO_SERVICE), "{text}");
        for type_url in [CLUSTER, ASSIGNMENT] {
            assert!(view.get(type_url, grpc::NO_SERVICE).is_some(), "{type_url}");
        }
        assert_eq!(view.names(LISTENER).count(), 0);
    }
}
