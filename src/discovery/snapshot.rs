//! The resources of all services, in step with the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
};

use tokio::sync::watch;
use xds::{
    Name, Published, Resource, Resources,
    proto::pack,
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER},
};

use super::{
    agent::{self, parts},
    assignment::assignment,
    client::ClientKind,
    envoy, grpc,
    names::{self, namespace_of},
    proto::{NAMESPACE, namespace::Service as Named},
};
use crate::catalog::{Catalog, Endpoint, NodeScope, Service, ServiceName, progress::Progresses};

/// What all streams read. A stream holds the lock while it composes one response.
pub struct Snapshot {
    state: RwLock<State>,
    changes: watch::Sender<u64>,
    progress: Arc<Progresses>,
}

#[derive(Default)]
struct State {
    agent: Resources,
    grpc: Resources,
    envoy: Resources,
    by_service: BTreeMap<ServiceName, Names>,
    /// The services of each namespace, which has a resource of its own for agents.
    namespaces: BTreeMap<String, BTreeMap<Arc<str>, Named>>,
    /// Namespaces whose resource has to be made anew. A change of thousands of services makes it once,
    /// when a stream reads.
    changed_namespaces: BTreeSet<String>,
    /// The services that only clients with a node can use.
    own_node: usize,
}

/// The names of a service's resources: what it no longer has is removed.
#[derive(Clone, Default)]
struct Names {
    /// Each with the number of its assignment's parts.
    clusters: Vec<(Name, u32)>,
    targets: Vec<Name>,
    own_node: bool,
}

/// The published resources in one form.
pub struct Read<'a> {
    state: RwLockReadGuard<'a, State>,
    kind: ClientKind,
}

impl Deref for Read<'_> {
    type Target = Resources;

    fn deref(&self) -> &Resources {
        match self.kind {
            ClientKind::Agent => &self.state.agent,
            ClientKind::Grpc => &self.state.grpc,
            ClientKind::Envoy => &self.state.envoy,
        }
    }
}

impl Snapshot {
    /// A snapshot that follows the catalog for as long as somebody holds it.
    pub fn follow(catalog: &Arc<Catalog>) -> Arc<Self> {
        let snapshot = Arc::new(Self {
            state: RwLock::default(),
            changes: watch::Sender::new(0),
            progress: catalog.progress().clone(),
        });
        let (from, to): (Weak<Catalog>, Weak<Self>) =
            (Arc::downgrade(catalog), Arc::downgrade(&snapshot));
        catalog.on_change(Box::new(move |names| {
            if let (Some(catalog), Some(snapshot)) = (from.upgrade(), to.upgrade()) {
                snapshot.update(&catalog, names);
            }
        }));
        let names: Vec<_> = catalog.list(None).iter().map(|it| it.name.clone()).collect();
        snapshot.update(catalog, &names);
        snapshot
    }

    /// What is published now to clients of this kind.
    pub fn resources(&self, kind: ClientKind) -> Read<'_> {
        let state = self.read();
        if state.changed_namespaces.is_empty() {
            return Read { state, kind };
        }
        drop(state);
        let mut state = self.write();
        state.make_namespaces();
        Read { state: RwLockWriteGuard::downgrade(state), kind }
    }

    /// How far the sources have read. None: a source is telling something; see [`Self::settled`]. Whoever asks while
    /// the resources are held ([`Self::resources`]) gets the version of what is in them.
    pub fn progress(&self) -> Option<&Progresses> {
        self.progress.is_settled().then_some(&*self.progress)
    }

    /// Waits until no source is telling anything.
    pub async fn settled(&self) {
        self.progress.settled().await;
    }

    /// The services that gRPC and Envoy find empty, since these tell no node.
    pub fn for_own_node(&self) -> usize {
        self.read().own_node
    }

    /// A counter to wait on. It grows with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes the streams once, so that one response has all that changed.
    fn update(&self, catalog: &Catalog, names: &[ServiceName]) {
        let revisions =
            |state: &State| [&state.agent, &state.grpc, &state.envoy].map(Published::revision);
        let mut changed = false;
        for name in names {
            // For each service anew, since streams wait for the lock. The catalog is read under it, or an
            // older state could overwrite a newer one.
            let mut state = self.write();
            let before = revisions(&state);
            match catalog.get(name) {
                Some(service) => state.set(&service),
                None => state.remove(name),
            }
            changed |= revisions(&state) != before || !state.changed_namespaces.is_empty();
        }
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, service: &Service) {
        let service = service.with_eligible_endpoints();
        let own_node = service.eligibility.nodes == NodeScope::OwnNode;
        let clusters = names::clusters(&service);
        let mut now = Names { own_node, ..Names::default() };
        for (port, name) in service.ports.iter().zip(&clusters) {
            let parts = self.set_for_agents(name, &service, &port.endpoints);
            // Only a client that tells its node could be told which endpoints are for it.
            let endpoints = if own_node { &[][..] } else { &*port.endpoints };
            let assignment = Resource::new(name.as_str(), pack(&assignment(name, endpoints)).value);
            self.grpc.set(ASSIGNMENT, assignment.clone());
            self.grpc.set(CLUSTER, grpc::cluster(name));
            self.envoy.set(ASSIGNMENT, assignment);
            self.envoy.set(CLUSTER, envoy::cluster(name));
            now.clusters.push((name.as_str().into(), parts));
        }
        for (target, port) in names::targets(&service) {
            self.grpc.set(LISTENER, grpc::listener(&target, &clusters[port]));
            now.targets.push(target.into());
        }
        self.put(&service.name, agent::write::named(&service, &clusters));
        self.own_node += usize::from(own_node);
        let before = self.by_service.insert(service.name, now.clone()).unwrap_or_default();
        self.forget(&before, &now);
    }

    /// A port's cluster and assignment as agents get them. Returns how many parts the assignment has.
    fn set_for_agents(&mut self, name: &str, service: &Service, endpoints: &[Endpoint]) -> u32 {
        let before = self.by_service.get(&service.name).into_iter().flat_map(|it| &it.clusters);
        let before =
            before.filter(|(cluster, _)| **cluster == *name).map(|(_, parts)| *parts).next();
        let parts = parts::count(endpoints.len(), before.unwrap_or_default());
        self.agent.set(CLUSTER, agent::write::cluster(name, service, parts));
        self.agent.set(ASSIGNMENT, agent::write::assignment(name, endpoints));
        if parts > 1 {
            let divided = parts::divided(endpoints, parts).into_iter();
            for (part, endpoints) in parts::names(name, parts).iter().zip(divided) {
                self.agent.set(ASSIGNMENT, agent::write::assignment(part, endpoints));
            }
        }
        parts
    }

    fn remove(&mut self, name: &ServiceName) {
        let Some(before) = self.by_service.remove(name) else { return };
        self.forget(&before, &Names::default());
        let namespace = namespace_of(name);
        if let Some(services) = self.namespaces.get_mut(&namespace) {
            services.remove(&name.name);
            if services.is_empty() {
                self.namespaces.remove(&namespace);
            }
            self.changed_namespaces.insert(namespace);
        }
    }

    /// Removes what a service had before and does not have now.
    fn forget(&mut self, before: &Names, now: &Names) {
        self.own_node -= usize::from(before.own_node);
        for cluster in before.clusters.iter().filter(|cluster| !now.clusters.contains(cluster)) {
            let (name, parts) = cluster;
            for part in parts::names(name, *parts).iter().filter(|_| *parts > 1) {
                self.agent.remove(ASSIGNMENT, part);
            }
            // It may have other parts now.
            if now.clusters.iter().any(|(still, _)| still == name) {
                continue;
            }
            for resources in [&mut self.agent, &mut self.grpc, &mut self.envoy] {
                resources.remove(CLUSTER, name);
                resources.remove(ASSIGNMENT, name);
            }
        }
        for name in before.targets.iter().filter(|name| !now.targets.contains(name)) {
            self.grpc.remove(LISTENER, name);
        }
    }

    fn put(&mut self, name: &ServiceName, named: Named) {
        let namespace = namespace_of(name);
        let services = self.namespaces.entry(namespace.clone()).or_default();
        if services.get(&name.name) != Some(&named) {
            services.insert(name.name.clone(), named);
            self.changed_namespaces.insert(namespace);
        }
    }

    fn make_namespaces(&mut self) {
        for name in mem::take(&mut self.changed_namespaces) {
            match self.namespaces.get(&name) {
                Some(services) => {
                    let named = services.values().cloned();
                    self.agent.set(NAMESPACE, agent::write::namespace(&name, named));
                }
                None => drop(self.agent.remove(NAMESPACE, &name)),
            }
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("changes", &*self.changes.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xds::proto::{envoy::service::discovery::v3::DeltaDiscoveryRequest, google::protobuf::Any};

    use super::*;
    use crate::catalog::{
        Change, Port, SourceId,
        sample::{endpoint, service},
    };

    const KINDS: [ClientKind; 3] = [ClientKind::Agent, ClientKind::Grpc, ClientKind::Envoy];

    fn names(snapshot: &Snapshot, kind: ClientKind, type_url: &str) -> Vec<String> {
        let resources = snapshot.resources(kind);
        let mut names: Vec<String> =
            resources.names(type_url).map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    fn apply(catalog: &Catalog, change: Change) {
        catalog.apply(SourceId(0), change, Duration::ZERO);
    }

    /// A snapshot of a catalog with this service.
    fn of(service: Service) -> (Arc<Catalog>, Arc<Snapshot>) {
        let catalog = Arc::new(Catalog::new(["test"]));
        apply(&catalog, Change::Upsert(service));
        let snapshot = Snapshot::follow(&catalog);
        (catalog, snapshot)
    }

    fn body(snapshot: &Snapshot, kind: ClientKind, type_url: &str, name: &str) -> Vec<u8> {
        snapshot.resources(kind).get(type_url, name).expect("a resource").body.to_vec()
    }

    #[test]
    fn two_ports_with_one_number_have_a_cluster_each() {
        let port = |name: &str, last| Port {
            name: Some(name.into()),
            number: Some(53),
            endpoints: [endpoint(last)].into(),
        };
        let (_catalog, snapshot) = of(Service::new(
            "dns.system".parse().unwrap(),
            "test",
            vec![port("dns-tcp", 1), port("dns", 2)],
        ));
        for kind in KINDS {
            assert_eq!(names(&snapshot, kind, CLUSTER), ["dns.system:53", "dns.system:dns"]);
        }
        let second = pack(&assignment("dns.system:dns", &[endpoint(2)])).value;
        assert_eq!(body(&snapshot, ClientKind::Grpc, ASSIGNMENT, "dns.system:dns"), second);
    }

    #[test]
    fn a_service_for_callers_on_an_endpoint_s_node_is_empty_for_clients_that_tell_none() {
        let mut local = service("cart.shop", [endpoint(1)]);
        local.eligibility.nodes = NodeScope::OwnNode;
        let (catalog, snapshot) = of(local.clone());
        let name = &names(&snapshot, ClientKind::Grpc, ASSIGNMENT)[0];
        let empty = pack(&assignment(name, &[])).value;
        for kind in [ClientKind::Grpc, ClientKind::Envoy] {
            assert_eq!(body(&snapshot, kind, ASSIGNMENT, name), empty);
        }
        let all = agent::write::assignment(name, &[endpoint(1)]).body;
        assert_eq!(body(&snapshot, ClientKind::Agent, ASSIGNMENT, name), all);
        assert_eq!(snapshot.for_own_node(), 1);
        local.eligibility.nodes = NodeScope::Everywhere;
        apply(&catalog, Change::Upsert(local.clone()));
        assert_eq!(snapshot.for_own_node(), 0);
        assert_ne!(body(&snapshot, ClientKind::Grpc, ASSIGNMENT, name), empty);
        local.eligibility.nodes = NodeScope::OwnNode;
        apply(&catalog, Change::Upsert(local.clone()));
        apply(&catalog, Change::Remove(local.name));
        assert_eq!(snapshot.for_own_node(), 0);
    }

    #[test]
    fn agents_are_told_each_namespace_s_services_as_they_come_and_go() {
        let (catalog, snapshot) = of(service("cart.shop", [endpoint(1)]));
        apply(&catalog, Change::Upsert(service("users.accounts", [endpoint(2)])));
        let namespaces = || names(&snapshot, ClientKind::Agent, NAMESPACE);
        let services = |namespace: &str| {
            let value = body(&snapshot, ClientKind::Agent, NAMESPACE, namespace).into();
            let any = Any { value, ..Any::default() };
            let all = agent::read::namespace(namespace, &any).unwrap().into_iter();
            all.map(|named| named.service.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(namespaces(), ["accounts", "shop"]);
        assert!(names(&snapshot, ClientKind::Grpc, NAMESPACE).is_empty());
        let mut changes = snapshot.changes();
        changes.mark_unchanged();
        apply(&catalog, Change::Upsert(service("basket.shop", [endpoint(3)])));
        assert!(changes.has_changed().unwrap());
        assert_eq!(services("shop"), ["basket.shop", "cart.shop"]);
        apply(&catalog, Change::Remove("basket.shop".parse().unwrap()));
        assert_eq!(services("shop"), ["cart.shop"]);
        apply(&catalog, Change::Remove("cart.shop".parse().unwrap()));
        assert_eq!(namespaces(), ["accounts"]);
    }

    #[test]
    fn endpoints_that_change_leave_the_namespace_as_it_is() {
        let (catalog, snapshot) = of(service("cart.shop", [endpoint(1)]));
        let version =
            || snapshot.resources(ClientKind::Agent).get(NAMESPACE, "shop").unwrap().version;
        let before = version();
        apply(&catalog, Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2)])));
        assert!(snapshot.read().changed_namespaces.is_empty());
        assert_eq!(version(), before);
    }

    #[test]
    fn agents_may_have_a_large_assignment_in_parts_and_others_have_the_whole() {
        let large = |last: u8| Change::Upsert(service("cart.shop", (1..=last).map(endpoint)));
        let (catalog, snapshot) = of(service("cart.shop", []));
        apply(&catalog, large(65));
        let cluster = names(&snapshot, ClientKind::Grpc, ASSIGNMENT).remove(0);
        let parts = |count| parts::names(&cluster, count).iter().map(ToString::to_string).collect();
        let of_agents = || names(&snapshot, ClientKind::Agent, ASSIGNMENT);
        let expected: Vec<String> = [vec![cluster.clone()], parts(4)].concat();
        assert_eq!(of_agents(), expected);
        assert_eq!(names(&snapshot, ClientKind::Envoy, ASSIGNMENT).join(" "), cluster);
        let resources = snapshot.resources(ClientKind::Agent);
        let client = crate::discovery::Client { kind: ClientKind::Agent, ..Default::default() };
        let progress = snapshot.progress().unwrap();
        let view = crate::discovery::View { resources: &resources, client: &client, progress };
        let by_wildcard: Vec<_> = view.names(ASSIGNMENT).collect();
        assert_eq!(by_wildcard, [cluster.as_str().into()], "each endpoint once");
        assert!(view.get(ASSIGNMENT, &expected[1]).is_some());
        drop(resources);

        let mut all = xds::server::DeltaStream::new();
        let request = DeltaDiscoveryRequest { type_url: ASSIGNMENT.into(), ..Default::default() };
        all.request(request).unwrap();
        let mut sent = || {
            let resources = snapshot.resources(ClientKind::Agent);
            let progress = snapshot.progress().unwrap();
            let (resources, client) = (&resources, &client);
            let view = crate::discovery::View { resources, client, progress };
            let response = all.next(&view, std::time::Duration::ZERO);
            response.unwrap().resources.into_iter().map(|it| it.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(sent(), cluster);
        apply(&catalog, large(255));
        assert_eq!(sent(), cluster, "after a change, too");
        assert_eq!(of_agents().len(), 5, "63 in a part are not too many");
        apply(&catalog, Change::Remove("cart.shop".parse().unwrap()));
        assert!(of_agents().is_empty());
    }

    #[test]
    fn a_service_s_resources_come_change_and_go_with_it() {
        let (catalog, snapshot) = of(service("cart.shop", [endpoint(1)]));
        let cluster = names(&snapshot, ClientKind::Grpc, CLUSTER);
        assert_eq!(cluster.len(), 1, "what was there before: {cluster:?}");
        for kind in KINDS {
            assert_eq!(names(&snapshot, kind, CLUSTER), cluster);
            assert_eq!(names(&snapshot, kind, ASSIGNMENT), cluster);
        }
        let listeners = names(&snapshot, ClientKind::Grpc, LISTENER);
        assert!(listeners.contains(&"cart.shop".to_owned()));

        let mut changes = snapshot.changes();
        changes.mark_unchanged();
        let bodies = || KINDS.map(|kind| body(&snapshot, kind, ASSIGNMENT, &cluster[0]));
        let before = bodies();
        apply(&catalog, Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2)])));
        for (before, after) in before.iter().zip(bodies()) {
            assert_ne!(*before, after);
        }
        assert!(changes.has_changed().unwrap());

        apply(&catalog, Change::Remove("cart.shop".parse().unwrap()));
        for kind in KINDS {
            for type_url in [CLUSTER, ASSIGNMENT, LISTENER] {
                assert!(names(&snapshot, kind, type_url).is_empty(), "{type_url}");
            }
        }
    }
}
