//! What a control plane has told, and the services made of it. Without IO.
//!
//! All names are known, by the resources of namespaces or by the names of all clusters. The endpoints are
//! known of the services that callers ask for: these are followed, which subscribes to the clusters and
//! assignments of their ports.
//!
//! - `names`: the names; `faults`: what is wrong with single resources; `resource`: their types and names
//! - `hold`: what is held back of a control plane that is behind the one before it
//! - `news`: what the source is told in turn

use std::{
    collections::{BTreeSet, HashMap},
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
    server::limits::beginning,
};

use self::{
    faults::Faults,
    hold::{Hold, Verdict},
    names::{NameChanges, Names, Room},
    news::News,
    resource::{Kind, Resource},
};
use crate::{
    catalog::{Change, Endpoint, Port, Service, ServiceName},
    discovery::{
        agent::{
            parts::{self, whole_of},
            read::{self, ClusterInfo, Named, NamedPort},
        },
        names::namespace_of,
        proto::NAMESPACE,
    },
};

mod faults;
pub(super) mod hold;
mod names;
pub(super) mod news;
mod resource;

/// The longest reason that is kept, in bytes: it may quote what the server sent.
const LONGEST_REASON: usize = 512;

/// The parts of assignments that are asked for, of all services together. Beyond it an assignment is asked
/// for as a whole. A server allows 20,000 names, of which the 2,000 services that a node follows need 16,000.
const MOST_PARTS: usize = 4000;
/// What is wrong with single resources is a note of their service each, up to so many.
const MOST_NOTES: usize = 10;

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
    names: Names,
    clusters: Told<ClusterInfo>,
    /// Assignments and parts of them.
    assignments: Told<Arc<[Endpoint]>>,
    /// How many parts the clusters have together.
    parts: usize,
    /// The most of them.
    most_parts: usize,
    /// The endpoints of each followed cluster as the catalog has them. They count until all parts of another
    /// number are there, or the whole.
    last: HashMap<Name, Arc<[Endpoint]>>,
    /// The followed services, and what each subscribes to.
    followed: HashMap<ServiceName, Subscriptions>,
    /// The followed services that need a resource.
    needed_by: HashMap<Resource, BTreeSet<ServiceName>>,
    /// The followed services of which something has not been told.
    incomplete: BTreeSet<ServiceName>,
    faults: Faults,
    hold: Hold<Read>,
    /// The control plane has not been heard for too long.
    stale: bool,
}

type Subscriptions = BTreeSet<Resource>;

/// What follows from what was told so far.
#[derive(Default)]
struct Effects {
    news: Vec<News>,
    /// The services of which something was told.
    touched: BTreeSet<ServiceName>,
}

/// A resource that was read.
#[derive(Debug)]
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
        let all_of = if by_clusters { CLUSTER } else { NAMESPACE };
        Self {
            client: DeltaClient::new(node, [all_of]),
            source,
            by_clusters,
            named: false,
            names: Names::new(unconfirmed),
            clusters: Told::new(),
            assignments: Told::new(),
            parts: 0,
            most_parts: MOST_PARTS,
            last: HashMap::new(),
            followed: HashMap::new(),
            needed_by: HashMap::new(),
            incomplete: BTreeSet::new(),
            faults: Faults::default(),
            hold: Hold::default(),
            stale: false,
        }
    }

    // --- the stream

    pub(super) fn connected(&mut self) {
        self.client.connected();
    }

    pub(super) fn disconnected(&mut self) {
        // The word of one that was behind when it went does not count, whoever comes next.
        for event in self.hold.take() {
            let (type_url, name) = event.resource();
            self.client.retract(type_url, name);
        }
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
        let mut effects = Effects::default();
        for event in self.client.silent::<()>(now) {
            let (type_url, name) = event.resource();
            let Some(kind) = Kind::of(type_url) else { continue };
            let resource = (kind, name.clone());
            effects.touched.extend(self.needing(&resource));
            self.faults.silent(resource, &mut effects.news);
        }
        self.tell(effects)
    }

    /// When [`Self::end_hold`] has something to say.
    pub(super) fn next_end_of_hold(&self) -> Option<Duration> {
        self.hold.end()
    }

    /// What follows from what was held back for too long: it counts now.
    pub(super) fn end_hold(&mut self, now: Duration) -> Vec<News> {
        if !self.hold.is_over(now) {
            return Vec::new();
        }
        let mut effects = Effects { news: vec![News::NotCaughtUp], ..Effects::default() };
        let held = self.hold.take();
        held.into_iter().for_each(|event| self.event(event, &mut effects));
        self.tell(effects)
    }

    pub(super) fn response(
        &mut self,
        response: DeltaDiscoveryResponse,
        now: Duration,
    ) -> Vec<News> {
        let names = if self.by_clusters { CLUSTER } else { NAMESPACE };
        let first = response.type_url == names && !mem::replace(&mut self.named, true);
        let by_clusters = self.by_clusters;
        let verdict = self.hold.judge(&response.system_version_info, now);
        let mut room = self.names.room(self.held_names());
        let events = self.client.response(response, |type_url, name, body| {
            decode(type_url, name, body, by_clusters, &mut room)
                .map_err(|why| beginning(&why, LONGEST_REASON))
        });
        let mut effects = Effects::default();
        match verdict {
            Verdict::Counts | Verdict::StaysBehind => {}
            Verdict::FallsBehind => effects.news.push(News::FallsBehind),
            Verdict::CaughtUp => {
                effects.news.push(News::CaughtUp);
                let held = self.hold.take();
                held.into_iter().for_each(|event| self.event(event, &mut effects));
            }
        }
        let behind = matches!(verdict, Verdict::FallsBehind | Verdict::StaysBehind);
        for event in events {
            match self.held_back(&event).filter(|_| behind) {
                Some(resource) => self.hold.keep(resource, event),
                None => self.event(event, &mut effects),
            }
        }
        if first {
            self.all_names_are_known(&mut effects);
        }
        self.tell(effects)
    }

    /// The resource of an event that is held back if its server is behind. A refusal changes nothing, and of what is not
    /// known at all an older state is better than none.
    fn held_back(&self, event: &Event<Read>) -> Option<Resource> {
        let (type_url, name) = event.resource();
        let resource = (Kind::of(type_url)?, name.clone());
        let changes = !matches!(event, Event::Rejected { .. });
        (changes && self.knows(&resource)).then_some(resource)
    }

    /// The names that were told in what is held back.
    fn held_names(&self) -> usize {
        let names = |event: &Event<Read>| match event {
            Event::Updated { resource: Read::Namespace(services), .. } => names::count(services),
            _ => 0,
        };
        self.hold.events().map(names).sum()
    }

    fn event(&mut self, event: Event<Read>, effects: &mut Effects) {
        let (type_url, name) = event.resource();
        let Some(kind) = Kind::of(type_url) else { return };
        let resource = (kind, name.clone());
        effects.touched.extend(self.needing(&resource));
        self.faults.heard(&resource, &mut effects.news);
        match event {
            // The server hears why. If the whole is wrong, too, that is a fault.
            Event::Rejected { .. } if self.ask_for_whole(&resource) => {}
            Event::Rejected { why, .. } => {
                let known = self.knows(&resource);
                effects.news.push(self.faults.refuse(resource, why, known));
            }
            Event::Updated { resource: read, .. } => {
                self.faults.accept(&resource, &mut effects.news);
                self.updated(resource.1, read, effects);
            }
            // The number of parts may change: the cluster will say so.
            Event::Missing { .. } if self.ask_for_whole(&resource) => {}
            Event::Missing { .. } => {
                self.faults.accept(&resource, &mut effects.news);
                self.missing(kind, resource.1, effects);
            }
        }
    }

    /// The catalog is told all names at once, which removes those of an earlier run.
    fn all_names_are_known(&self, effects: &mut Effects) {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        for news in effects.news.drain(..) {
            match news {
                News::Names(Change::Name(name)) => names.push(name),
                News::Names(_) => {}
                other => others.push(other),
            }
        }
        // A namespace that was refused is not one without services.
        for (namespace, kept) in self.names.kept() {
            if self.faults.is_refused(&(Kind::Namespace, namespace.clone())) {
                names.extend(kept.iter().cloned());
            }
        }
        effects.news.extend([News::Names(Change::Names(names)), News::Synced]);
        effects.news.extend(others);
    }

    // --- the callers

    /// Whether there is a service of this name.
    pub(super) fn has(&self, name: &ServiceName) -> bool {
        self.names.ports(name).is_some()
    }

    /// The number of its ports.
    pub(super) fn ports_of(&self, name: &ServiceName) -> usize {
        self.names.ports(name).map_or(0, Vec::len)
    }

    pub(super) fn follows(&self, name: &ServiceName) -> bool {
        self.followed.contains_key(name)
    }

    /// Follows a service from now on. What is known of it already is told at once.
    pub(super) fn follow(&mut self, name: &ServiceName) -> Vec<News> {
        self.followed.entry(name.clone()).or_default();
        self.tell(Effects { touched: [name.clone()].into(), ..Effects::default() })
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
        self.incomplete.iter().map(|name| (name, self.notes(name).next()))
    }

    /// Whether the control plane has been silent for too long, which marks all services.
    pub(super) fn set_stale(&mut self, stale: bool) -> Vec<News> {
        if mem::replace(&mut self.stale, stale) == stale {
            return Vec::new();
        }
        let touched = self.followed.keys().cloned().collect();
        self.tell(Effects { touched, ..Effects::default() })
    }

    // --- resources

    fn updated(&mut self, name: Name, resource: Read, effects: &mut Effects) {
        match resource {
            Read::Namespace(services) => {
                let changes = self.names.replace(&name, services);
                self.rename(changes, effects);
            }
            Read::Cluster(info) => {
                if self.by_clusters {
                    let changes = self.names.add_port(&name);
                    self.rename(changes, effects);
                }
                self.set_cluster(name, Some(info));
            }
            Read::Assignment(endpoints) => {
                self.assignments.insert(name, Some(endpoints.into()));
            }
        }
    }

    fn missing(&mut self, kind: Kind, name: Name, effects: &mut Effects) {
        match kind {
            Kind::Namespace => {
                let changes = self.names.replace(&name, Vec::new());
                self.rename(changes, effects);
            }
            Kind::Cluster if self.by_clusters => {
                self.forget_cluster(&name);
                let changes = self.names.remove_port(&name);
                self.rename(changes, effects);
            }
            Kind::Cluster => {
                self.last.remove(&name);
                self.set_cluster(name, None);
            }
            Kind::Assignment => drop(self.assignments.insert(name, None)),
        }
    }

    fn set_cluster(&mut self, name: Name, mut info: Option<ClusterInfo>) {
        self.forget_cluster(&name);
        if let Some(info) = info.as_mut().filter(|info| info.parts > 1) {
            let fit = self.parts + info.parts as usize <= self.most_parts;
            // Another server names its assignments as it likes.
            match fit && !self.by_clusters {
                true => self.parts += info.parts as usize,
                false => info.parts = 1,
            }
        }
        self.clusters.insert(name, info);
    }

    /// If the resource is a part of an assignment: asks for the whole in its place.
    fn ask_for_whole(&mut self, resource: &Resource) -> bool {
        let (kind, name) = resource;
        let Some(whole) = whole_of(name).filter(|_| *kind == Kind::Assignment) else {
            return false;
        };
        let mut is_part = false;
        for service in self.needing(resource) {
            for port in self.names.ports(&service).into_iter().flatten() {
                if let Some(Some(info)) = self.clusters.get_mut(&port.cluster)
                    && info.parts > 1
                    && *info.assignment == *whole
                {
                    self.parts -= info.parts as usize;
                    info.parts = 1;
                    is_part = true;
                }
            }
        }
        is_part
    }

    /// The server does not give so many names: asks for every assignment as a whole from now on.
    pub(super) fn ask_for_wholes(&mut self) -> Vec<News> {
        self.most_parts = 0;
        self.parts = 0;
        self.clusters.values_mut().flatten().for_each(|info| info.parts = 1);
        let touched = self.followed.keys().cloned().collect();
        self.tell(Effects { touched, ..Effects::default() })
    }

    fn forget_cluster(&mut self, name: &Name) {
        if let Some(Some(info)) = self.clusters.remove(name)
            && info.parts > 1
        {
            self.parts -= info.parts as usize;
        }
    }

    fn rename(&mut self, changes: NameChanges, effects: &mut Effects) {
        let NameChanges { added, changed, removed } = changes;
        effects.news.extend(added.into_iter().map(|name| News::Names(Change::Name(name))));
        effects.touched.extend(changed);
        for gone in removed {
            effects.news.extend(self.let_go(&gone));
            effects.news.push(News::Names(Change::Remove(gone)));
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

    fn knows(&self, (kind, name): &Resource) -> bool {
        match kind {
            Kind::Namespace => self.names.know(name),
            Kind::Cluster => self.clusters.contains_key(name),
            Kind::Assignment => self.assignments.contains_key(name),
        }
    }

    // --- services

    /// Brings the subscriptions of the touched services up to date, and tells those that are complete.
    fn tell(&mut self, effects: Effects) -> Vec<News> {
        let Effects { mut news, touched } = effects;
        for name in touched {
            if !self.followed.contains_key(&name) {
                continue;
            }
            self.subscribe(&name, &mut news);
            match self.service(&name) {
                Some(service) => {
                    self.incomplete.remove(&name);
                    let clusters = self.names.ports(&name).into_iter().flatten();
                    for (NamedPort { cluster, .. }, port) in clusters.zip(&service.ports) {
                        self.last.insert(cluster.clone(), port.endpoints.clone());
                    }
                    news.push(News::Service(name, Change::Upsert(service)));
                }
                None => drop(self.incomplete.insert(name)),
            }
        }
        news
    }

    fn subscribe(&mut self, name: &ServiceName, news: &mut Vec<News>) {
        let mut wanted = Subscriptions::new();
        for port in self.names.ports(name).into_iter().flatten() {
            wanted.insert((Kind::Cluster, port.cluster.clone()));
            // Its cluster says whether it comes in parts.
            if let Some(Some(info)) = self.clusters.get(&port.cluster) {
                let parts = parts::names(&info.assignment, info.parts).into_iter();
                wanted.extend(parts.map(|part| (Kind::Assignment, part)));
            }
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
        self.hold.forget(resource);
        let (kind, name) = resource;
        match kind {
            Kind::Cluster if self.by_clusters => {
                self.last.remove(name);
                return;
            }
            Kind::Cluster => {
                self.last.remove(name);
                self.forget_cluster(name);
            }
            Kind::Assignment => drop(self.assignments.remove(name)),
            // It is subscribed to by the wildcard alone.
            Kind::Namespace => return,
        }
        self.client.unsubscribe(kind.type_url(), name);
        self.faults.heard(resource, news);
        self.faults.accept(resource, news);
    }

    /// A followed service as it is now. None: something of it has not been told yet, and may come.
    fn service(&self, name: &ServiceName) -> Option<Service> {
        let mut service = Service::new(name.clone(), self.source.clone(), Vec::new());
        let mut facts = None;
        let mut told = false;
        for NamedPort { name, number, cluster } in self.names.ports(name)? {
            let endpoints = match self.told(Kind::Cluster, cluster, &self.clusters)? {
                Some(info) => {
                    facts = facts.or(info.facts.as_ref());
                    let parts = parts::names(&info.assignment, info.parts);
                    told |= self.last.contains_key(cluster)
                        || parts.iter().all(|part| self.assignments.contains_key(part));
                    self.endpoints(cluster, &parts)?
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

    /// The endpoints of a cluster whose assignment has these parts. None in it and None: as for
    /// [`Self::told`].
    fn endpoints(&self, cluster: &Name, parts: &[Name]) -> Option<Option<Arc<[Endpoint]>>> {
        let all: Option<Vec<_>> = parts.iter().map(|part| self.assignments.get(part)).collect();
        match (all.as_deref(), self.last.get(cluster)) {
            (Some([whole]), _) => Some((*whole).clone()),
            (Some(parts), _) => {
                let parts = parts.iter().copied().flatten();
                Some(Some(parts.flat_map(|part| part.iter().cloned()).collect()))
            }
            (None, Some(last)) => Some(Some(last.clone())),
            (None, None) => {
                let wrong = |part: &Name| self.faults.have(&(Kind::Assignment, part.clone()));
                parts.iter().any(wrong).then_some(None)
            }
        }
    }

    /// What was told of a resource; None in it: there is none, or nothing that can be used. None: it may
    /// come yet.
    fn told<'a, T>(&self, kind: Kind, name: &Name, all: &'a Told<T>) -> Option<Option<&'a T>> {
        match all.get(name) {
            Some(told) => Some(told.as_ref()),
            None => self.faults.have(&(kind, name.clone())).then_some(None),
        }
    }

    /// What is wrong with the resources of a followed service.
    fn notes(&self, name: &ServiceName) -> impl Iterator<Item = String> {
        let namespace = (Kind::Namespace, namespace_of(name).into());
        let resources = self.followed.get(name).into_iter().flatten();
        let notes = resources.filter_map(|resource| self.faults.of(resource));
        notes.take(MOST_NOTES).chain(self.faults.of(&namespace))
    }
}

/// Reads a resource. `room`: for the names that its response tells.
fn decode(
    type_url: &str,
    name: &str,
    body: &Any,
    by_clusters: bool,
    room: &mut Room<'_>,
) -> Result<Read, String> {
    match type_url {
        NAMESPACE => {
            let services = read::namespace(name, body)?;
            room.namespace(name, &services)?;
            Ok(Read::Namespace(services))
        }
        CLUSTER => {
            let take = if by_clusters { room.cluster(name)? } else { 0 };
            let info = read::cluster(name, body)?;
            room.take(take);
            Ok(Read::Cluster(info))
        }
        ASSIGNMENT => read::assignment(name, body).map(Read::Assignment),
        // The client asks for no other type.
        _ => Err("nothing of this type was asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests;
