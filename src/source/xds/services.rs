//! What a control plane has told, and the services made of it. Without IO.
//!
//! All names are known, by the resources of namespaces or by the names of all clusters. The endpoints are
//! known of the services that callers ask for: these are followed, which subscribes to the clusters and
//! assignments of their ports.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use ::xds::{
    Name,
    client::{DeltaClient, Event},
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
        },
        google::protobuf::Any,
    },
    resource_type::{ASSIGNMENT, CLUSTER},
};

use crate::{
    catalog::{Change, Endpoint, Port, PortRef, Service, ServiceName, ServiceRef},
    discovery::{
        agent::read::{self, ClusterInfo, Named, NamedPort},
        names::namespace_of,
        proto::NAMESPACE,
    },
};

/// The most services that a control plane may name. Each takes some 400 bytes. A wrong or malicious server
/// must not fill the node's memory.
const MOST_SERVICES: usize = 100_000;

/// What came of a resource: it is this, or there is none.
type Told<T> = HashMap<Name, Option<T>>;

/// What a control plane has told.
#[derive(Debug)]
pub(super) struct Services {
    client: DeltaClient,
    /// The source's name, for a person.
    source: Arc<str>,
    /// Names are those of all clusters.
    by_clusters: bool,
    /// The names of all services are known.
    named: bool,
    /// The services of each namespace, by its resource's name.
    namespaces: BTreeMap<Name, BTreeMap<ServiceName, Vec<NamedPort>>>,
    clusters: Told<ClusterInfo>,
    assignments: Told<Arc<[Endpoint]>>,
    /// The followed services, and what each subscribes to.
    followed: HashMap<ServiceName, Subscriptions>,
    /// The followed services that need a resource.
    needed_by: HashMap<Resource, BTreeSet<ServiceName>>,
    rejected: BTreeMap<Resource, String>,
    /// The control plane has not been heard for too long.
    stale: bool,
}

type Subscriptions = BTreeSet<Resource>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Namespace,
    Cluster,
    Assignment,
}

type Resource = (Kind, Name);

impl Kind {
    fn type_url(self) -> &'static str {
        match self {
            Self::Namespace => NAMESPACE,
            Self::Cluster => CLUSTER,
            Self::Assignment => ASSIGNMENT,
        }
    }

    /// None: the client asks for no such type.
    fn of(type_url: &str) -> Option<Self> {
        let all = [Self::Namespace, Self::Cluster, Self::Assignment];
        all.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// A resource as a person knows it.
    fn shown(self, name: &str) -> Arc<str> {
        let kind = match self {
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
            Self::Assignment => "assignment",
        };
        format!("{kind} \"{name}\"").into()
    }
}

/// What follows from a response.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// For the catalog, of a service by name.
    Names(Change),
    /// For the catalog, of a followed service.
    Service(ServiceName, Change),
    /// The first answer: all names are known.
    Synced,
    /// A resource is wrong. Its last good state stays.
    Rejected { finder: Arc<str>, why: String },
    /// It is right again, or gone.
    Mended { finder: Arc<str> },
}

/// A resource that was read.
enum Read {
    Namespace(Vec<Named>),
    Cluster(ClusterInfo),
    Assignment(Vec<Endpoint>),
}

impl Services {
    pub(super) fn new(source: Arc<str>, node: Node, by_clusters: bool) -> Self {
        let all_of = if by_clusters { CLUSTER } else { NAMESPACE };
        Self {
            client: DeltaClient::new(node, [all_of]),
            source,
            by_clusters,
            named: false,
            namespaces: BTreeMap::new(),
            clusters: Told::new(),
            assignments: Told::new(),
            followed: HashMap::new(),
            needed_by: HashMap::new(),
            rejected: BTreeMap::new(),
            stale: false,
        }
    }

    // --- the stream

    pub(super) fn connected(&mut self) {
        self.client.connected();
    }

    pub(super) fn disconnected(&mut self) {
        self.client.disconnected();
    }

    pub(super) fn next_request(&mut self, now: Duration) -> Option<DeltaDiscoveryRequest> {
        self.client.next_request(now)
    }

    /// When [`Self::silent`] has something to say.
    pub(super) fn next_silence(&self) -> Option<Duration> {
        self.client.next_silence()
    }

    /// The followed services of which the control plane says nothing, though it was asked, and what it
    /// does not say. They stay as they are: silence may be its fault.
    pub(super) fn silent(&mut self, now: Duration) -> Vec<(ServiceName, String)> {
        let mut all = Vec::new();
        for event in self.client.silent::<()>(now) {
            if let Event::Missing { type_url, name } = event
                && let Some(kind) = Kind::of(&type_url)
            {
                let what = kind.shown(&name).to_string();
                all.extend(self.needing(kind, &name).into_iter().map(|it| (it, what.clone())));
            }
        }
        all
    }

    pub(super) fn response(&mut self, response: DeltaDiscoveryResponse) -> Vec<News> {
        let names = if self.by_clusters { CLUSTER } else { NAMESPACE };
        let first = response.type_url == names && !mem::replace(&mut self.named, true);
        let (namespaces, by_clusters) = (&self.namespaces, self.by_clusters);
        let events = self.client.response(response, |type_url, name, body| {
            decode(type_url, name, body, namespaces, by_clusters)
        });
        let mut news = Vec::new();
        let mut touched = BTreeSet::new();
        for event in events {
            let (type_url, name) = event.resource();
            let Some(kind) = Kind::of(type_url) else { continue };
            let name = name.clone();
            touched.extend(self.needing(kind, &name));
            if let Event::Rejected { why, .. } = event {
                news.push(News::Rejected {
                    finder: kind.shown(&name),
                    why: refused(kind, &name, &why),
                });
                self.rejected.insert((kind, name), why);
                continue;
            }
            if self.rejected.remove(&(kind, name.clone())).is_some() {
                news.push(News::Mended { finder: kind.shown(&name) });
            }
            match event {
                Event::Updated { resource, .. } => {
                    self.updated(name, resource, &mut touched, &mut news)
                }
                _ => self.missing(kind, name, &mut touched, &mut news),
            }
        }
        if first {
            let all = mem::take(&mut news).into_iter().filter_map(|news| match news {
                News::Names(Change::Name(name)) => Some(Ok(name)),
                News::Names(_) => None,
                other => Some(Err(other)),
            });
            let (names, others): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
            let names = names.into_iter().filter_map(Result::ok).collect();
            news.push(News::Names(Change::Names(names)));
            news.push(News::Synced);
            news.extend(others.into_iter().filter_map(Result::err));
        }
        self.tell(touched, &mut news);
        news
    }

    // --- the callers

    /// Whether there is a service of this name.
    pub(super) fn has(&self, name: &ServiceName) -> bool {
        self.ports(name).is_some()
    }

    pub(super) fn follows(&self, name: &ServiceName) -> bool {
        self.followed.contains_key(name)
    }

    /// Follows a service from now on. What is known of it already is told at once.
    pub(super) fn follow(&mut self, name: &ServiceName) -> Vec<News> {
        self.followed.entry(name.clone()).or_default();
        let mut news = Vec::new();
        self.tell([name.clone()].into(), &mut news);
        news
    }

    /// Follows it no longer.
    pub(super) fn let_go(&mut self, name: &ServiceName) -> Vec<News> {
        let before = self.followed.remove(name).unwrap_or_default();
        let mut news = Vec::new();
        before.iter().for_each(|resource| self.release(resource, name, &mut news));
        news
    }

    /// The followed services that are not complete, each with what is missing.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = &ServiceName> {
        self.followed.keys().filter(|name| self.service(name).is_none())
    }

    /// Whether the control plane has been silent for too long, which marks all services.
    pub(super) fn set_stale(&mut self, stale: bool) -> Vec<News> {
        let mut news = Vec::new();
        if mem::replace(&mut self.stale, stale) != stale {
            let all: Vec<ServiceName> = self.followed.keys().cloned().collect();
            let told = all.into_iter().filter_map(|name| {
                let service = self.service(&name)?;
                Some(News::Service(name, Change::Upsert(service)))
            });
            news.extend(told);
        }
        news
    }

    // --- resources

    fn updated(
        &mut self,
        name: Name,
        resource: Read,
        touched: &mut BTreeSet<ServiceName>,
        news: &mut Vec<News>,
    ) {
        match resource {
            Read::Namespace(services) => {
                let services = services.into_iter().map(|named| (named.service, named.ports));
                self.rename(&name, services.collect(), touched, news);
            }
            Read::Cluster(info) => {
                if self.by_clusters {
                    self.add_port(&name, touched, news);
                }
                self.clusters.insert(name, Some(info));
            }
            Read::Assignment(endpoints) => {
                self.assignments.insert(name, Some(endpoints.into()));
            }
        }
    }

    fn missing(
        &mut self,
        kind: Kind,
        name: Name,
        touched: &mut BTreeSet<ServiceName>,
        news: &mut Vec<News>,
    ) {
        match kind {
            Kind::Namespace => self.rename(&name, BTreeMap::new(), touched, news),
            Kind::Cluster if self.by_clusters => {
                self.clusters.remove(&name);
                self.remove_port(&name, news);
            }
            Kind::Cluster => drop(self.clusters.insert(name, None)),
            Kind::Assignment => drop(self.assignments.insert(name, None)),
        }
    }

    fn needing(&self, kind: Kind, name: &Name) -> Vec<ServiceName> {
        self.needed_by.get(&(kind, name.clone())).into_iter().flatten().cloned().collect()
    }

    /// The cluster's name is that of a service and a port, which are there from now on.
    fn add_port(
        &mut self,
        cluster: &Name,
        touched: &mut BTreeSet<ServiceName>,
        news: &mut Vec<News>,
    ) {
        // `decode` refused other names.
        let Ok(ServiceRef { service, port }) = cluster.parse() else { return };
        let (name, number) = match port {
            Some(PortRef::Name(name)) => (Some(name), None),
            Some(PortRef::Number(number)) => (None, Some(number)),
            None => (None, None),
        };
        let services = self.namespaces.entry(namespace_of(&service).into()).or_default();
        let ports = services.entry(service.clone()).or_insert_with(|| {
            news.push(News::Names(Change::Name(service.clone())));
            Vec::new()
        });
        if ports.iter().all(|port| port.cluster != *cluster) {
            ports.push(NamedPort { name, number, cluster: cluster.clone() });
            ports.sort_by(|one, other| one.cluster.cmp(&other.cluster));
            touched.insert(service);
        }
    }

    fn remove_port(&mut self, cluster: &Name, news: &mut Vec<News>) {
        let Ok(ServiceRef { service, .. }) = cluster.parse() else { return };
        let namespace = namespace_of(&service);
        let Some(services) = self.namespaces.get_mut(&*namespace) else { return };
        let Some(ports) = services.get_mut(&service) else { return };
        ports.retain(|port| port.cluster != *cluster);
        if ports.is_empty() {
            services.remove(&service);
            if services.is_empty() {
                self.namespaces.remove(&*namespace);
            }
            news.push(News::Names(Change::Remove(service.clone())));
            news.extend(self.let_go(&service));
        }
    }

    /// Replaces the names of a namespace.
    fn rename(
        &mut self,
        namespace: &Name,
        services: BTreeMap<ServiceName, Vec<NamedPort>>,
        touched: &mut BTreeSet<ServiceName>,
        news: &mut Vec<News>,
    ) {
        let mut before = self.namespaces.remove(namespace).unwrap_or_default();
        for (name, ports) in &services {
            match before.remove(name) {
                None => news.push(News::Names(Change::Name(name.clone()))),
                Some(before) if before != *ports => drop(touched.insert(name.clone())),
                Some(_) => {}
            }
        }
        if !services.is_empty() {
            self.namespaces.insert(namespace.clone(), services);
        }
        for gone in before.into_keys() {
            news.extend(self.let_go(&gone));
            news.push(News::Names(Change::Remove(gone)));
        }
    }

    // --- services

    fn ports(&self, name: &ServiceName) -> Option<&Vec<NamedPort>> {
        self.namespaces.get(&*namespace_of(name))?.get(name)
    }

    /// Brings the subscriptions of these services up to date, and tells those that are complete.
    fn tell(&mut self, touched: BTreeSet<ServiceName>, news: &mut Vec<News>) {
        for name in touched {
            if !self.followed.contains_key(&name) {
                continue;
            }
            self.subscribe(&name, news);
            if let Some(service) = self.service(&name) {
                news.push(News::Service(name, Change::Upsert(service)));
            }
        }
    }

    fn subscribe(&mut self, name: &ServiceName, news: &mut Vec<News>) {
        let mut wanted = Subscriptions::new();
        for port in self.ports(name).into_iter().flatten() {
            wanted.insert((Kind::Cluster, port.cluster.clone()));
            let assignment = match self.clusters.get(&port.cluster) {
                Some(Some(info)) => info.assignment.clone(),
                // By the usual name, so that it need not be asked for after the cluster.
                _ => port.cluster.clone(),
            };
            wanted.insert((Kind::Assignment, assignment));
        }
        let before = self.followed.insert(name.clone(), wanted.clone()).unwrap_or_default();
        for resource in wanted.difference(&before) {
            let needed_by = self.needed_by.entry(resource.clone()).or_default();
            let (kind, resource) = resource;
            // The wildcard covers all clusters.
            if needed_by.is_empty() && !(self.by_clusters && *kind == Kind::Cluster) {
                self.client.subscribe(kind.type_url(), resource.clone());
            }
            needed_by.insert(name.clone());
        }
        for resource in before.difference(&wanted) {
            self.release(resource, name, news);
        }
    }

    /// A service needs the resource no longer.
    fn release(&mut self, resource: &Resource, service: &ServiceName, news: &mut Vec<News>) {
        let Some(needed_by) = self.needed_by.get_mut(resource) else { return };
        needed_by.remove(service);
        if !needed_by.is_empty() {
            return;
        }
        self.needed_by.remove(resource);
        let (kind, name) = resource;
        match kind {
            Kind::Cluster if self.by_clusters => return,
            Kind::Cluster => drop(self.clusters.remove(name)),
            Kind::Assignment => drop(self.assignments.remove(name)),
            // It is subscribed to by the wildcard alone.
            Kind::Namespace => return,
        }
        self.client.unsubscribe(kind.type_url(), name);
        if self.rejected.remove(resource).is_some() {
            news.push(News::Mended { finder: kind.shown(name) });
        }
    }

    /// A followed service as it is now. None: something of it has not been told yet.
    fn service(&self, name: &ServiceName) -> Option<Service> {
        let mut service = Service::new(name.clone(), self.source.clone(), Vec::new());
        let mut facts = None;
        for NamedPort { name, number, cluster } in self.ports(name)? {
            let endpoints = match self.clusters.get(cluster)? {
                Some(info) => {
                    facts = facts.or(info.facts.as_ref());
                    self.assignments.get(&info.assignment)?.clone()
                }
                None => None,
            };
            let endpoints = endpoints.unwrap_or_else(|| Arc::from([]));
            service.ports.push(Port { name: name.clone(), number: *number, endpoints });
        }
        if let Some(facts) = facts {
            read::apply(facts, &mut service);
            if !facts.source.is_empty() {
                service.source =
                    format!("{}, which has it from {}", self.source, facts.source).into();
            }
        }
        service.eligibility.ports_said = true;
        service.stale |= self.stale;
        for resource in self.followed.get(name).into_iter().flatten() {
            if let Some(why) = self.rejected.get(resource) {
                service.notes.push(refused(resource.0, &resource.1, why));
            }
        }
        Some(service)
    }
}

fn refused(kind: Kind, name: &str, why: &str) -> String {
    let what = kind.shown(name);
    format!("the control plane's {what} is refused, and its last good state stays: {why}")
}

fn decode(
    type_url: &str,
    name: &str,
    body: &Any,
    namespaces: &BTreeMap<Name, BTreeMap<ServiceName, Vec<NamedPort>>>,
    by_clusters: bool,
) -> Result<Read, String> {
    let others = || {
        let others = namespaces.iter().filter(|(namespace, _)| ***namespace != *name);
        others.map(|(_, services)| services.len()).sum::<usize>()
    };
    match type_url {
        NAMESPACE => {
            let services = read::namespace(name, body)?;
            if services.len() + others() > MOST_SERVICES {
                return Err(format!("with it there are more than {MOST_SERVICES} services"));
            }
            let mut seen = HashSet::new();
            let twice = services.iter().find(|named| !seen.insert(&named.service));
            match twice {
                Some(named) => Err(format!("it names {} twice", named.service)),
                None => Ok(Read::Namespace(services)),
            }
        }
        CLUSTER => {
            if by_clusters {
                name.parse::<ServiceRef>().map_err(|error| {
                    format!(
                        "its name is not that of a service and a port, such as \
                             cart.shop:8080: {error}"
                    )
                })?;
                if others() >= MOST_SERVICES {
                    return Err(format!("there are more than {MOST_SERVICES} services"));
                }
            }
            read::cluster(name, body).map(Read::Cluster)
        }
        ASSIGNMENT => read::assignment(name, body).map(Read::Assignment),
        // The client asks for no other type.
        _ => Err("nothing of this type was asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests;
