//! Follows a Service and its EndpointSlices with two watches; or all of them, also with two; or with Pods
//! and Nodes, with four.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, core::PartialObjectMeta};
use tokio::sync::watch::Sender;

use super::{
    api_error::Resource,
    connection_pool::StreamSlot,
    context::Context,
    facts::{
        NodeFacts,
        pod::{Pod, PodFacts, PodReader, WantedLabels},
    },
    object_cache::ObjectCache,
    pod_watch::pod_watch,
    read_up_to::ReadUpTo,
    request_queue::Urgency,
    staleness::Staleness,
    watch::{Pace, Selector, Subject, Update, watch, whole},
};
use crate::{
    catalog::{Change, Interest, ServiceName},
    clock,
    source::manifests::endpoint_slice::SERVICE_LABEL,
};

#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// One service, while this interest in it lasts.
    One(ServiceName, Interest),
    All {
        pods_and_nodes: bool,
    },
}

enum Event {
    Service(Update<Service>),
    Slice(Update<EndpointSlice>),
    Pod(Update<PodFacts>),
    Node(Update<NodeFacts>),
}

/// The labels of Pods to keep; None: not known yet.
type Labels = Option<Arc<WantedLabels>>;

/// The most events that the catalog is told of as one. They come faster than they are told after an
/// outage, or in the roll-out of many services. An event has 1 to 50 KB. Range 16 to 1024.
const AT_ONCE: usize = 128;

/// Keeps the catalog up to date with the API server, forever.
pub(super) async fn follow(scope: &Scope, slot: &StreamSlot, shared: &Context) {
    let labels = Sender::new(Labels::None);
    // Of one service, no version is of all that the catalog has.
    let read = matches!(scope, Scope::All { .. }).then(|| Arc::new(shared.read_up_to()));
    let own = events(scope, &slot.client, read.as_ref(), shared);
    let events = match scope {
        Scope::All { pods_and_nodes: true } => {
            stream::select(own, facts(scope, &slot.client, shared, &labels)).boxed()
        }
        _ => own.boxed(),
    };
    apply(scope, events, &labels, read.as_deref(), shared).await;
}

async fn apply(
    scope: &Scope,
    events: impl Stream<Item = Event> + Unpin,
    labels: &Sender<Labels>,
    read: Option<&ReadUpTo>,
    shared: &Context,
) {
    let mut cache = match scope {
        Scope::All { pods_and_nodes: true } => ObjectCache::with_facts(),
        _ => ObjectCache::default(),
    };
    let mut events = events.ready_chunks(AT_ONCE);
    let objects: Arc<str> = format!("objects of {scope}").into();
    let (mut staleness, mut stale) = (Staleness::default(), false);
    while let Some(events) = events.next().await {
        let _telling = read.map(ReadUpTo::telling);
        let was_complete = cache.complete();
        let (mut touched, mut interruption) = (Vec::new(), None);
        for event in events {
            interruption = event.interruption();
            touched.extend(match event {
                Event::Service(update) => {
                    staleness.note(Resource::Services, &update, clock::now());
                    cache.update_service(update)
                }
                Event::Slice(update) => {
                    staleness.note(Resource::EndpointSlices, &update, clock::now());
                    cache.update_slice(update)
                }
                // Their silence makes no service stale: its endpoints are those of its slices.
                Event::Pod(update) => cache.update_pod(update),
                Event::Node(update) => cache.update_node(update),
            });
        }
        let aged = staleness.is_stale(clock::now()) != stale;
        stale ^= aged;
        cache.set_stale(stale);
        if let Some(wanted) = cache.more_labels() {
            labels.send_if_modified(|known| {
                let more = known.as_ref().is_none_or(|known| !wanted.are_in(known));
                if more {
                    *known = Some(Arc::new(wanted));
                }
                more
            });
        }
        match cache.malformed() {
            Some(what) => shared.problems.found(&objects, &what),
            None => shared.problems.mended(&objects),
        }
        match cache.complete() {
            // A change of staleness concerns every service.
            true if was_complete && !aged => scope.say(touched, &cache, shared),
            true => scope.say_all(&cache, shared),
            false => scope.await_rest(&cache, interruption, shared),
        }
        if let Some(read) = read {
            read.told();
        }
    }
}

impl Scope {
    fn pace(&self, shared: &Context) -> Pace {
        let Self::One(name, _) = self else { return shared.pace_of_all() };
        let (catalog, name) = (shared.catalog.clone(), name.clone());
        // Known services, including those of an earlier run, serve picks meanwhile.
        let list = move || match catalog.get(&name) {
            Some(_) => Urgency::Keeping,
            None => Urgency::Waiting,
        };
        Pace { list: Arc::new(list), begin: Urgency::Keeping, ..shared.pace_of_all() }
    }

    /// Tells the catalog the changed services.
    fn say(&self, touched: Vec<ServiceName>, cache: &ObjectCache, shared: &Context) {
        match self {
            Self::One(name, interest) => {
                if touched.contains(name) {
                    self.say_one(name, interest, cache, shared);
                }
            }
            Self::All { .. } => {
                let touched: BTreeSet<ServiceName> = touched.into_iter().collect();
                let change = |name| match cache.service(&name, &shared.name) {
                    Some(service) => Change::Upsert(service),
                    None => Change::Remove(name),
                };
                let changes = touched.into_iter().map(change);
                shared.catalog.apply_all(shared.source, changes, clock::now());
            }
        }
    }

    fn say_one(
        &self,
        name: &ServiceName,
        interest: &Interest,
        cache: &ObjectCache,
        shared: &Context,
    ) {
        // Only the watch of all names decides whether the service exists.
        let service = cache.service(name, &shared.name);
        let change = service.map_or(Change::Withdraw(name.clone()), Change::Upsert);
        shared.catalog.answer(shared.source, interest, change, clock::now());
    }

    /// Tells the catalog everything, once it is complete.
    fn say_all(&self, cache: &ObjectCache, shared: &Context) {
        match self {
            Self::One(name, interest) => self.say_one(name, interest, cache, shared),
            Self::All { .. } => {
                let services = cache.names().filter_map(|name| cache.service(name, &shared.name));
                let change = Change::Replace(services.collect());
                shared.catalog.apply(shared.source, change, clock::now());
                shared.synced();
            }
        }
    }

    /// Records what is still missing, for callers that wait.
    fn await_rest(&self, cache: &ObjectCache, interruption: Option<Arc<str>>, shared: &Context) {
        match self {
            Self::One(name, _) => {
                let missing = || format!("waiting for {} from {}", cache.missing(), shared.server);
                let why = interruption.unwrap_or_else(|| missing().into());
                shared.catalog.interests().awaits(name, why);
            }
            Self::All { .. } => {
                let missing = || format!("waiting for {} from {}", cache.missing(), shared.server);
                let why = interruption.unwrap_or_else(|| missing().into());
                shared.catalog.excuse(shared.source, Some(why));
            }
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(name, _) => name.fmt(f),
            Self::All { .. } => f.write_str("everything"),
        }
    }
}

impl Event {
    fn interruption(&self) -> Option<Arc<str>> {
        match self {
            Self::Service(update) => update.interruption(),
            Self::Slice(update) => update.interruption(),
            Self::Pod(update) => update.interruption(),
            Self::Node(update) => update.interruption(),
        }
    }
}

fn events(
    scope: &Scope,
    client: &Client,
    read: Option<&Arc<ReadUpTo>>,
    shared: &Context,
) -> impl Stream<Item = Event> + Send + use<> {
    let (services, slices, service, slice) = match scope {
        Scope::One(ServiceName { name, namespace, .. }, _) => (
            Api::<Service>::namespaced(client.clone(), namespace),
            Api::<EndpointSlice>::namespaced(client.clone(), namespace),
            Selector { fields: Some(format!("metadata.name={name}")), labels: None },
            Selector { fields: None, labels: Some(format!("{SERVICE_LABEL}={name}")) },
        ),
        Scope::All { .. } => (
            Api::all(client.clone()),
            Api::all(client.clone()),
            Selector::default(),
            Selector { fields: None, labels: Some(SERVICE_LABEL.to_owned()) },
        ),
    };
    let of = |resource| Subject { read: read.cloned(), ..shared.subject(resource, scope) };
    let (pace, problems) = (scope.pace(shared), &shared.problems);
    let (of_services, of_slices) = (of(Resource::Services), of(Resource::EndpointSlices));
    let services = watch(services, whole, service, of_services, problems.clone(), pace.clone());
    let slices = watch(slices, whole, slice, of_slices, problems.clone(), pace);
    stream::select(services.map(Event::Service), slices.map(Event::Slice))
}

/// The watches of Pods and Nodes.
fn facts(
    scope: &Scope,
    client: &Client,
    shared: &Context,
    labels: &Sender<Labels>,
) -> impl Stream<Item = Event> + Send + use<> {
    let (pace, problems) = (scope.pace(shared), shared.problems.clone());
    let of_nodes = shared.subject(Resource::AllNodes, scope);
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    let nodes =
        watch(nodes, NodeFacts::of, Selector::default(), of_nodes, problems.clone(), pace.clone());
    let of_pods = shared.subject(Resource::Pods, scope);
    let pods = Api::<Pod>::all(client.clone());
    let pods = pod_watch(labels.subscribe(), move |wanted| {
        let mut reader = PodReader::new(wanted);
        let reduce = move |pod| reader.read(pod);
        let all = Selector::default();
        watch(pods.clone(), reduce, all, of_pods.clone(), problems.clone(), pace.clone()).boxed()
    });
    stream::select(nodes.map(Event::Node), pods.map(Event::Pod))
}

#[cfg(test)]
mod tests;
