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
    client::{DeltaClient, Event, delta::SILENCE},
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
        },
        google::protobuf::Any,
    },
    resource_type::{ASSIGNMENT, CLUSTER},
    server::limits::beginning,
};

use crate::{
    catalog::{Change, Endpoint, Port, PortRef, Service, ServiceName, ServiceRef},
    discovery::{
        agent::read::{self, ClusterInfo, Named, NamedPort},
        names::namespace_of,
        proto::NAMESPACE,
    },
};

/// The most names that a control plane may tell: of services and their ports together. Each takes some 200
/// bytes. A wrong or malicious server must not fill the node's memory.
const MOST_NAMES: usize = 200_000;
/// The refused resources that are remembered, for notes and problems.
const MOST_REFUSED: usize = 1000;
/// The refused resources that are a problem each. The others are one together.
const MOST_PROBLEMS: usize = 32;
/// The finder of that problem.
const MORE: &str = "more";
/// The longest reason that is kept, in bytes: it may quote what the server sent.
const LONGEST_REASON: usize = 512;
/// The longest part of a resource's name that is shown, in bytes.
const LONGEST_SHOWN: usize = 256;

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
    /// How many names all of them have.
    names: usize,
    /// Services of an earlier run, of namespaces that have not been told yet.
    kept: BTreeMap<Name, Vec<ServiceName>>,
    clusters: Told<ClusterInfo>,
    assignments: Told<Arc<[Endpoint]>>,
    /// The followed services, and what each subscribes to.
    followed: HashMap<ServiceName, Subscriptions>,
    /// The followed services that need a resource.
    needed_by: HashMap<Resource, BTreeSet<ServiceName>>,
    /// The followed services of which something has not been told.
    incomplete: BTreeSet<ServiceName>,
    rejected: BTreeMap<Resource, String>,
    /// What was asked for, and the control plane says nothing of.
    silent: BTreeSet<Resource>,
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
        // The server chooses it, and a log line has it.
        format!("{kind} \"{}\"", beginning(name, LONGEST_SHOWN)).into()
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
    /// Something is wrong with a resource. Its last good state stays.
    Wrong { finder: Arc<str>, why: String },
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
    /// `unconfirmed`: the services of an earlier run.
    pub(super) fn new(
        source: Arc<str>,
        node: Node,
        by_clusters: bool,
        unconfirmed: Vec<ServiceName>,
    ) -> Self {
        let mut kept: BTreeMap<Name, Vec<ServiceName>> = BTreeMap::new();
        for name in unconfirmed {
            kept.entry(namespace_of(&name).into()).or_default().push(name);
        }
        let all_of = if by_clusters { CLUSTER } else { NAMESPACE };
        Self {
            client: DeltaClient::new(node, [all_of]),
            source,
            by_clusters,
            named: false,
            namespaces: BTreeMap::new(),
            names: 0,
            kept,
            clusters: Told::new(),
            assignments: Told::new(),
            followed: HashMap::new(),
            needed_by: HashMap::new(),
            incomplete: BTreeSet::new(),
            rejected: BTreeMap::new(),
            silent: BTreeSet::new(),
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
    pub(super) fn next_silence(&mut self) -> Option<Duration> {
        self.client.next_silence()
    }

    /// The responses that have not been answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.client.unanswered()
    }

    /// What follows from the control plane's silence. What is known stays, since the silence may be its
    /// fault. A port of which nothing is known counts as empty, so that it holds up no other.
    pub(super) fn silent(&mut self, now: Duration) -> Vec<News> {
        let mut news = Vec::new();
        let mut touched = BTreeSet::new();
        for event in self.client.silent::<()>(now) {
            let (type_url, name) = event.resource();
            let Some(kind) = Kind::of(type_url) else { continue };
            let resource = (kind, name.clone());
            touched.extend(self.needing(&resource));
            if self.silent.len() < MOST_PROBLEMS {
                let what = kind.shown(name);
                news.push(News::Wrong { finder: silence_of(&what), why: says_nothing_of(&what) });
            }
            self.silent.insert(resource);
        }
        self.tell(touched, &mut news);
        news
    }

    pub(super) fn response(&mut self, response: DeltaDiscoveryResponse) -> Vec<News> {
        let names = if self.by_clusters { CLUSTER } else { NAMESPACE };
        let first = response.type_url == names && !mem::replace(&mut self.named, true);
        let (namespaces, by_clusters) = (&self.namespaces, self.by_clusters);
        let mut taken = self.names;
        let events = self.client.response(response, |type_url, name, body| {
            decode(type_url, name, body, namespaces, by_clusters, &mut taken)
                .map_err(|why| beginning(&why, LONGEST_REASON))
        });
        let mut news = Vec::new();
        let mut touched = BTreeSet::new();
        for event in events {
            let (type_url, name) = event.resource();
            let Some(kind) = Kind::of(type_url) else { continue };
            let resource = (kind, name.clone());
            touched.extend(self.needing(&resource));
            if self.silent.remove(&resource) {
                news.push(News::Mended { finder: silence_of(&kind.shown(&resource.1)) });
            }
            match event {
                Event::Rejected { why, .. } => {
                    self.reject(resource, why, &mut news);
                    continue;
                }
                Event::Updated { resource: read, .. } => {
                    self.mend(&resource, &mut news);
                    self.updated(resource.1, read, &mut touched, &mut news);
                }
                Event::Missing { .. } => {
                    self.mend(&resource, &mut news);
                    self.missing(kind, resource.1, &mut touched, &mut news);
                }
            }
        }
        if first {
            let all = mem::take(&mut news).into_iter().filter_map(|news| match news {
                News::Names(Change::Name(name)) => Some(Ok(name)),
                News::Names(_) => None,
                other => Some(Err(other)),
            });
            let (names, others): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
            let names = names.into_iter().filter_map(Result::ok);
            // A namespace that was refused is not one without services.
            let kept = self.kept.iter().filter(|(namespace, _)| {
                self.rejected.contains_key(&(Kind::Namespace, (*namespace).clone()))
            });
            let kept = kept.flat_map(|(_, names)| names.iter().cloned());
            news.push(News::Names(Change::Names(names.chain(kept).collect())));
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

    /// The number of its ports.
    pub(super) fn ports_of(&self, name: &ServiceName) -> usize {
        self.ports(name).map_or(0, Vec::len)
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
        self.incomplete.remove(name);
        let mut news = Vec::new();
        before.iter().for_each(|resource| self.release(resource, name, &mut news));
        news
    }

    /// The followed services of which something has not been told, each with the reason if the control plane
    /// is the reason.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = (&ServiceName, Option<String>)> {
        self.incomplete.iter().map(|name| (name, self.notes(name).into_iter().next()))
    }

    /// Whether the control plane has been silent for too long, which marks all services.
    pub(super) fn set_stale(&mut self, stale: bool) -> Vec<News> {
        let mut news = Vec::new();
        if mem::replace(&mut self.stale, stale) != stale {
            self.tell(self.followed.keys().cloned().collect(), &mut news);
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

    /// The followed services that depend on a resource.
    fn needing(&self, resource: &Resource) -> Vec<ServiceName> {
        if let (Kind::Namespace, name) = resource {
            let of = |service: &&ServiceName| *namespace_of(service) == **name;
            return self.followed.keys().filter(of).cloned().collect();
        }
        self.needed_by.get(resource).into_iter().flatten().cloned().collect()
    }

    fn reject(&mut self, resource: Resource, why: String, news: &mut Vec<News>) {
        let known = self.rejected.contains_key(&resource);
        if !known && self.rejected.len() >= MOST_PROBLEMS {
            let why =
                format!("more than {MOST_PROBLEMS} resources of the control plane are refused");
            news.push(News::Wrong { finder: MORE.into(), why });
        } else {
            let why = self.refused(&resource, &why);
            news.push(News::Wrong { finder: resource.0.shown(&resource.1), why });
        }
        if known || self.rejected.len() < MOST_REFUSED {
            self.rejected.insert(resource, why);
        }
    }

    /// A resource is not refused any more.
    fn mend(&mut self, resource: &Resource, news: &mut Vec<News>) {
        if self.rejected.remove(resource).is_some() {
            news.push(News::Mended { finder: resource.0.shown(&resource.1) });
            if self.rejected.len() == MOST_PROBLEMS {
                news.push(News::Mended { finder: MORE.into() });
            }
        }
    }

    fn refused(&self, (kind, name): &Resource, why: &str) -> String {
        let known = match kind {
            Kind::Namespace => self.namespaces.contains_key(name) || self.kept.contains_key(name),
            Kind::Cluster => self.clusters.contains_key(name),
            Kind::Assignment => self.assignments.contains_key(name),
        };
        let instead = match known {
            true => "its last good state stays",
            false => "nothing is known of it",
        };
        format!("the control plane's {} is refused, and {instead}: {why}", kind.shown(name))
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
            self.names += 1 + usize::from(ports.is_empty());
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
        let before = size(ports);
        ports.retain(|port| port.cluster != *cluster);
        self.names -= before - if ports.is_empty() { 0 } else { size(ports) };
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
        self.names -= size_of(&before);
        self.names += size_of(&services);
        let kept = self.kept.remove(namespace).unwrap_or_default().into_iter();
        let kept = kept.filter(|name| !services.contains_key(name) && !before.contains_key(name));
        news.extend(kept.map(|name| News::Names(Change::Remove(name))));
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
            match self.service(&name) {
                Some(service) => {
                    self.incomplete.remove(&name);
                    news.push(News::Service(name, Change::Upsert(service)));
                }
                None => drop(self.incomplete.insert(name)),
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
        if self.silent.remove(resource) {
            news.push(News::Mended { finder: silence_of(&kind.shown(name)) });
        }
        self.mend(resource, news);
    }

    /// A followed service as it is now. None: something of it has not been told yet, and may come.
    fn service(&self, name: &ServiceName) -> Option<Service> {
        let mut service = Service::new(name.clone(), self.source.clone(), Vec::new());
        let mut facts = None;
        let mut told = false;
        for NamedPort { name, number, cluster } in self.ports(name)? {
            let endpoints = match self.told(Kind::Cluster, cluster, &self.clusters)? {
                Some(info) => {
                    facts = facts.or(info.facts.as_ref());
                    told |= self.assignments.contains_key(&info.assignment);
                    self.told(Kind::Assignment, &info.assignment, &self.assignments)?.cloned()
                }
                None => {
                    told |= self.clusters.contains_key(cluster);
                    None
                }
            };
            let endpoints = endpoints.unwrap_or_else(|| Arc::from([]));
            service.ports.push(Port { name: name.clone(), number: *number, endpoints });
        }
        // An earlier run may know more than nothing.
        if !told && !service.ports.is_empty() {
            return None;
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
        service.notes.extend(self.notes(name));
        Some(service)
    }

    /// What was told of a resource; None in it: there is none, or nothing that can be used. None: it may
    /// come yet.
    fn told<'a, T>(&self, kind: Kind, name: &Name, all: &'a Told<T>) -> Option<Option<&'a T>> {
        let resource = (kind, name.clone());
        match all.get(name) {
            Some(told) => Some(told.as_ref()),
            None if self.rejected.contains_key(&resource) => Some(None),
            None if self.silent.contains(&resource) => Some(None),
            None => None,
        }
    }

    /// What is wrong with the resources of a followed service.
    fn notes(&self, name: &ServiceName) -> Vec<String> {
        let namespace = (Kind::Namespace, namespace_of(name).into());
        let all = self.followed.get(name).into_iter().flatten().chain([&namespace]);
        let note = |resource: &Resource| match self.rejected.get(resource) {
            Some(why) => Some(self.refused(resource, why)),
            None if self.silent.contains(resource) => {
                Some(says_nothing_of(&resource.0.shown(&resource.1)))
            }
            None => None,
        };
        all.filter_map(note).collect()
    }
}

fn silence_of(what: &str) -> Arc<str> {
    format!("silence of {what}").into()
}

fn says_nothing_of(what: &str) -> String {
    format!("the control plane says nothing of {what}, for {} s or more", SILENCE.as_secs())
}

/// The names of a service with these ports.
fn size(ports: &[NamedPort]) -> usize {
    1 + ports.len()
}

fn size_of(services: &BTreeMap<ServiceName, Vec<NamedPort>>) -> usize {
    services.values().map(|ports| size(ports)).sum()
}

/// Reads a resource. `taken`: how many names there are with those that this response has told so far.
fn decode(
    type_url: &str,
    name: &str,
    body: &Any,
    namespaces: &BTreeMap<Name, BTreeMap<ServiceName, Vec<NamedPort>>>,
    by_clusters: bool,
    taken: &mut usize,
) -> Result<Read, String> {
    let too_many = || {
        Err(format!(
            "with it there are more than {MOST_NAMES} services and ports, which is the most: give this node \
             a control plane with fewer"
        ))
    };
    match type_url {
        NAMESPACE => {
            let services = read::namespace(name, body)?;
            let before = namespaces.get(name).map_or(0, size_of);
            let now: usize = services.iter().map(|named| size(&named.ports)).sum();
            if *taken - before + now > MOST_NAMES {
                return too_many();
            }
            let mut seen = HashSet::new();
            if let Some(named) = services.iter().find(|named| !seen.insert(&named.service)) {
                return Err(format!("it names {} twice", named.service));
            }
            *taken = *taken - before + now;
            Ok(Read::Namespace(services))
        }
        CLUSTER if by_clusters => {
            let ServiceRef { service, .. } = name.parse().map_err(|error| {
                format!(
                    "its name is not that of a service and a port, such as cart.shop:8080: {error}"
                )
            })?;
            let services = namespaces.get(&*namespace_of(&service));
            let ports = services.and_then(|services| services.get(&service));
            let known = ports.is_some_and(|ports| ports.iter().any(|port| *port.cluster == *name));
            if !known && *taken + 2 > MOST_NAMES {
                return too_many();
            }
            let info = read::cluster(name, body)?;
            *taken += if known { 0 } else { 2 };
            Ok(Read::Cluster(info))
        }
        CLUSTER => read::cluster(name, body).map(Read::Cluster),
        ASSIGNMENT => read::assignment(name, body).map(Read::Assignment),
        // The client asks for no other type.
        _ => Err("nothing of this type was asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests;
