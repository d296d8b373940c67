//! The resources of all services, in step with the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak},
};

use tokio::sync::watch;
use xds::{
    Name, Published, Resource, Resources,
    proto::pack,
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER},
};

use super::{assignment::assignment, grpc, names};
use crate::catalog::{Catalog, NodeScope, Service, ServiceName};

/// What all streams read. A stream holds the lock while it composes one response.
pub struct Snapshot {
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    resources: Resources,
    /// By service, its resources: what it no longer has is removed.
    by_service: BTreeMap<ServiceName, BTreeSet<(&'static str, Name)>>,
}

impl Snapshot {
    /// A snapshot that follows the catalog for as long as somebody holds it.
    pub fn follow(catalog: &Arc<Catalog>) -> Arc<Self> {
        let snapshot = Arc::new(Self { state: RwLock::default(), revision: watch::Sender::new(0) });
        let (from, to): (Weak<Catalog>, Weak<Self>) =
            (Arc::downgrade(catalog), Arc::downgrade(&snapshot));
        catalog.on_change(Box::new(move |name| {
            if let (Some(catalog), Some(snapshot)) = (from.upgrade(), to.upgrade()) {
                snapshot.update(&catalog, name);
            }
        }));
        for service in catalog.list(None) {
            snapshot.update(catalog, &service.name);
        }
        snapshot
    }

    /// What is published now.
    pub fn resources(&self) -> impl std::ops::Deref<Target = Resources> + '_ {
        struct Read<'a>(RwLockReadGuard<'a, State>);
        impl std::ops::Deref for Read<'_> {
            type Target = Resources;
            fn deref(&self) -> &Resources {
                &self.0.resources
            }
        }
        Read(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A revision to wait on. It grows with every change.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn update(&self, catalog: &Catalog, name: &ServiceName) {
        // The catalog is read under the lock, or an older state could overwrite a newer one.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let resources = catalog.get(name).map_or_else(Vec::new, |service| resources(&service));
        state.set(name, resources);
        let revision = state.resources.revision();
        drop(state);
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }
}

impl State {
    fn set(&mut self, service: &ServiceName, resources: Vec<(&'static str, Resource)>) {
        let now: BTreeSet<_> =
            resources.iter().map(|(of, resource)| (*of, resource.name.clone())).collect();
        for (type_url, resource) in resources {
            self.resources.set(type_url, resource);
        }
        let before = match now.is_empty() {
            true => self.by_service.remove(service),
            false => self.by_service.insert(service.clone(), now.clone()),
        };
        for (type_url, name) in before.iter().flatten().filter(|resource| !now.contains(resource)) {
            self.resources.remove(type_url, name);
        }
    }
}

/// All resources of a service.
fn resources(service: &Service) -> Vec<(&'static str, Resource)> {
    let eligible = service.with_eligible_endpoints();
    let mut all = Vec::new();
    let mut clusters = Vec::new();
    for port in &eligible.ports {
        let name = names::of_port(&service.name, port);
        if clusters.contains(&name) {
            // Two ports of one number, TCP and UDP. The first one has the name, as for an agent's callers.
            clusters.push(name);
            continue;
        }
        let message = match service.eligibility.nodes {
            // Only a client that knows its node could tell which endpoints are for it.
            NodeScope::OwnNode => assignment(&name, &[]),
            _ => assignment(&name, &port.endpoints),
        };
        all.push((ASSIGNMENT, Resource::new(name.as_str(), pack(&message).value)));
        all.push((CLUSTER, grpc::cluster(&name)));
        clusters.push(name);
    }
    let targets = names::targets(service).into_iter();
    all.extend(targets.map(|(target, port)| (LISTENER, grpc::listener(&target, &clusters[port]))));
    all
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("revision", &*self.revision.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::{
        Change, SourceId,
        sample::{endpoint, service},
    };

    fn names(snapshot: &Snapshot, type_url: &str) -> Vec<String> {
        let mut names: Vec<String> =
            snapshot.resources().names(type_url).map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    fn apply(catalog: &Catalog, change: Change) {
        catalog.apply(SourceId(0), change, Duration::ZERO);
    }

    #[test]
    fn of_two_ports_with_one_number_the_first_has_the_name() {
        let port = |name: &str, last| crate::catalog::Port {
            name: Some(name.into()),
            number: Some(53),
            endpoints: [endpoint(last)].into(),
        };
        let service = Service::new(
            "dns.system".parse().unwrap(),
            "test",
            vec![port("dns-tcp", 1), port("dns", 2)],
        );
        let of = |type_url| {
            let all = resources(&service).into_iter().filter(move |(of, _)| *of == type_url);
            all.map(|(_, resource)| resource.body).collect::<Vec<_>>()
        };
        let first = pack(&assignment("dns.system:53", &[endpoint(1)])).value;
        assert_eq!(of(ASSIGNMENT), [first]);
        assert_eq!(of(CLUSTER).len(), 1);
    }

    #[test]
    fn a_service_for_callers_on_an_endpoint_s_node_is_empty_for_clients_that_tell_none() {
        let mut local = service("cart.shop", [endpoint(1)]);
        local.eligibility.nodes = NodeScope::OwnNode;
        let all = resources(&local);
        let (_, sent) = all.iter().find(|(of, _)| *of == ASSIGNMENT).unwrap();
        assert_eq!(sent.body, pack(&assignment(&sent.name, &[])).value);
    }

    #[test]
    fn a_service_s_resources_come_change_and_go_with_it() {
        let catalog = Arc::new(Catalog::new(["test"]));
        apply(&catalog, Change::Upsert(service("cart.shop", [endpoint(1)])));
        let snapshot = Snapshot::follow(&catalog);
        let cluster = names(&snapshot, CLUSTER);
        assert_eq!(cluster.len(), 1, "what was there before: {cluster:?}");
        assert_eq!(names(&snapshot, ASSIGNMENT), cluster);
        assert!(names(&snapshot, LISTENER).contains(&"cart.shop".to_owned()));

        let revisions = snapshot.revisions();
        let before = snapshot.resources().get(ASSIGNMENT, &cluster[0]).unwrap();
        apply(&catalog, Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2)])));
        let after = snapshot.resources().get(ASSIGNMENT, &cluster[0]).unwrap();
        assert_ne!(before.version, after.version);
        assert!(revisions.has_changed().unwrap());

        apply(&catalog, Change::Remove("cart.shop".parse().unwrap()));
        for type_url in [CLUSTER, ASSIGNMENT, LISTENER] {
            assert!(names(&snapshot, type_url).is_empty(), "{type_url}");
        }
    }
}
