//! The part of the snapshot that a client gets.

use xds::{
    Name, Published, Resource, Resources,
    proto::pack,
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER},
    server::limits::RESPONSE_BYTES,
};

use super::{
    agent::parts::whole_of,
    assignment::assignment,
    client::{Client, ClientKind},
    grpc,
    proto::NAMESPACE,
};
use crate::catalog::progress::Progresses;

/// The bytes of one response with names. An agent takes its first response for all names, so that it is not
/// divided: 100,000 services have some 10 MB. An agent takes 64 MB.
const NAMES_BYTES: usize = 48 << 20;

/// The resources in a client's form, as this client may see them.
pub struct View<'a> {
    pub resources: &'a Resources,
    pub client: &'a Client,
    /// How far the sources had read of which the resources are.
    pub progress: &'a Progresses,
}

impl View<'_> {
    /// What a client gets for a name that is no service, where it would wait for one otherwise.
    fn instead(&self, type_url: &str, name: &str) -> Option<Resource> {
        let empty = || Resource::new(name, pack(&assignment(name, &[])).value);
        match (self.client.kind, type_url) {
            // Envoy takes no requests before it has each cluster's assignment, and ignores the removal of
            // one.
            (ClientKind::Envoy, ASSIGNMENT) => Some(empty()),
            (ClientKind::Grpc, LISTENER) => Some(grpc::listener_of_no_service(name)),
            (ClientKind::Grpc, CLUSTER) => (name == grpc::NO_SERVICE).then(|| grpc::cluster(name)),
            (ClientKind::Grpc, ASSIGNMENT) => (name == grpc::NO_SERVICE).then(empty),
            _ => None,
        }
    }

    /// An Envoy gets the clusters of the namespaces that it named. One that named none has clusters from
    /// elsewhere, and a wildcard of its own server must not bring it those of a fleet.
    fn shows(&self, type_url: &str, name: &str) -> bool {
        (self.client.kind, type_url) != (ClientKind::Envoy, CLUSTER)
            || self.client.namespaces.have(name)
    }
}

impl Published for View<'_> {
    fn revision(&self) -> u64 {
        self.resources.revision()
    }

    fn get(&self, type_url: &str, name: &str) -> Option<Resource> {
        let found = self.resources.get(type_url, name).filter(|_| self.shows(type_url, name));
        found.or_else(|| self.instead(type_url, name))
    }

    fn names(&self, type_url: &str) -> impl Iterator<Item = Name> {
        self.resources.names(type_url).filter(|name| self.lists(type_url, name))
    }

    /// A wildcard stands for each endpoint once: not for the parts of an assignment beside the whole.
    fn lists(&self, type_url: &str, name: &str) -> bool {
        self.shows(type_url, name) && !(type_url == ASSIGNMENT && whole_of(name).is_some())
    }

    fn response_bytes(&self, type_url: &str) -> usize {
        match type_url {
            NAMESPACE => NAMES_BYTES,
            _ => RESPONSE_BYTES,
        }
    }

    fn system_version(&self, _: &str) -> String {
        self.progress.now().to_string()
    }

    fn changed_since(&self, type_url: &str, revision: u64) -> Option<impl Iterator<Item = &Name>> {
        self.resources.changed_since(type_url, revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::client::Namespaces;

    fn client(kind: ClientKind) -> Client {
        Client { kind, ..Client::default() }
    }

    #[test]
    fn an_envoy_gets_an_empty_assignment_for_what_is_no_service() {
        let mut resources = Resources::default();
        for type_url in [ASSIGNMENT, CLUSTER, LISTENER] {
            resources.set(type_url, Resource::new("cart.shop:80", "1"));
        }
        let seen = |kind, type_url, name: &str| {
            let client = client(kind);
            View { resources: &resources, client: &client, progress: &Progresses::default() }
                .get(type_url, name)
                .map(|it| it.body.len())
        };
        assert_eq!(seen(ClientKind::Envoy, ASSIGNMENT, "cart.shop:80"), Some(1));
        let empty = seen(ClientKind::Envoy, ASSIGNMENT, "other");
        assert_eq!(empty, Some(7), "its name, and nothing else");
        assert_eq!(seen(ClientKind::Grpc, CLUSTER, "cart.shop:80"), Some(1));
        assert_eq!(seen(ClientKind::Grpc, ASSIGNMENT, "other"), None);
        assert_eq!(seen(ClientKind::Grpc, CLUSTER, "other"), None);
        assert_eq!(seen(ClientKind::Grpc, LISTENER, "cart.shop:80"), Some(1));
        assert_eq!(seen(ClientKind::Agent, ASSIGNMENT, "other"), None);
        assert_eq!(seen(ClientKind::Agent, CLUSTER, "other"), None);
    }

    #[test]
    fn an_envoy_gets_the_clusters_of_its_namespaces_alone() {
        let mut resources = Resources::default();
        for name in ["cart.shop:80", "users.accounts:80"] {
            resources.set(CLUSTER, Resource::new(name, "1"));
        }
        let clusters = |namespaces| {
            let client = Client { kind: ClientKind::Envoy, namespaces };
            let progress = Progresses::default();
            let view = View { resources: &resources, client: &client, progress: &progress };
            let mut names: Vec<String> = view.names(CLUSTER).map(|it| it.to_string()).collect();
            names.sort();
            for name in &names {
                assert!(view.get(CLUSTER, name).is_some(), "{name}");
            }
            assert_eq!(view.get(CLUSTER, "users.accounts:80").is_some(), names.len() == 2);
            names
        };
        assert!(clusters(Namespaces::None).is_empty());
        assert_eq!(clusters(Namespaces::These(["shop".into()].into())), ["cart.shop:80"]);
        assert_eq!(clusters(Namespaces::All).len(), 2);
    }

    #[test]
    fn grpc_finds_its_way_from_what_is_no_service_to_no_endpoints() {
        let resources = Resources::default();
        let client = client(ClientKind::Grpc);
        let progress = Progresses::default();
        let view = View { resources: &resources, client: &client, progress: &progress };
        let listener = view.get(LISTENER, "other").expect("a listener without a route for calls");
        let text = String::from_utf8_lossy(&listener.body).into_owned();
        assert!(text.contains(grpc::NO_SERVICE), "{text}");
        for type_url in [CLUSTER, ASSIGNMENT] {
            assert!(view.get(type_url, grpc::NO_SERVICE).is_some(), "{type_url}");
        }
        assert_eq!(view.names(LISTENER).count(), 0);
    }
}
