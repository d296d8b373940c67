//! What endpoints take from Pods and Nodes: labels and the time at which they became ready, region and
//! zone.
//!
//! - [`pod`]: a Pod, reduced; [`place`]: where a Node is
//! - `objects`: all of one kind, each with the services that use it
//!
//! Events come in any order: a slice before its Pod, a Pod before its slice, a Node last. So every object
//! is kept, and a service is made anew when one that it uses changes.

use std::{collections::BTreeSet, num::NonZeroU64, sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;

use self::{objects::Objects, place::Place, pod::PodFacts};
use super::watch::Update;
use crate::{
    catalog::{Endpoint, Health, Labels, Service, ServiceName},
    source::manifests::{
        endpoint_slice::{Slice, SliceEndpoint},
        slice_union::pod_key,
    },
};

mod objects;
pub(super) mod place;
pub(super) mod pod;

/// What the watches of Pods and Nodes told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pods: Objects<NonZeroU64, KnownPod>,
    nodes: Objects<Arc<str>, Place>,
    pods_answered: bool,
    nodes_answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownPod {
    labels: Option<Arc<Labels>>,
    /// Since when it is ready, or was when it was ready last. The Pod says that it is unready a moment before
    /// its slice does. Only ready endpoints have a ready time, so that one change is told instead of two.
    ready_since: Option<SystemTime>,
}

/// A Node, reduced to what its endpoints take from it.
#[derive(Clone, Debug)]
pub(super) struct NodeFacts {
    name: Arc<str>,
    place: Place,
}

impl NodeFacts {
    pub(super) fn of(node: PartialObjectMeta<Node>) -> Self {
        let name = node.metadata.name.unwrap_or_default().into();
        Self { name, place: Place::of(&node.metadata.labels.unwrap_or_default()) }
    }
}

impl Facts {
    /// What has neither been listed once nor refused, for a person.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match (self.pods_answered, self.nodes_answered) {
            (false, _) => Some("its Pods"),
            (true, false) => Some("its Nodes"),
            (true, true) => None,
        }
    }

    /// Applies an update of the watch of Pods. Returns the services that it changes.
    pub(super) fn update_pod(&mut self, update: Update<PodFacts>) -> Vec<ServiceName> {
        let mut touched = Vec::new();
        match update {
            Update::Listed(pods) => {
                let pods = pods.into_iter().filter_map(|pod| self.pod(pod)).collect();
                self.pods.replace(pods, &mut touched);
                self.pods_answered = true;
            }
            Update::Applied(pod) => {
                if let Some((key, pod)) = self.pod(*pod) {
                    self.pods.set(key, pod, &mut touched);
                }
            }
            Update::Deleted(pod) => pod.key.into_iter().for_each(|key| self.pods.remove(key)),
            // Services do without what may not be read.
            Update::Refused(_) => self.pods_answered = true,
            Update::Interrupted(_) | Update::Resumed | Update::Unchanged => {}
        }
        touched
    }

    /// The Pod as it is to be known.
    fn pod(&self, pod: PodFacts) -> Option<(NonZeroU64, KnownPod)> {
        let PodFacts { key, labels, ready_since } = pod;
        let before = || self.pods.get(&key?)?.ready_since;
        Some((key?, KnownPod { labels, ready_since: ready_since.or_else(before) }))
    }

    /// Applies an update of the watch of Nodes. Returns the services that it changes.
    pub(super) fn update_node(&mut self, update: Update<NodeFacts>) -> Vec<ServiceName> {
        let mut touched = Vec::new();
        match update {
            Update::Listed(nodes) => {
                let nodes = nodes.into_iter().map(|node| (node.name, node.place)).collect();
                self.nodes.replace(nodes, &mut touched);
                self.nodes_answered = true;
            }
            Update::Applied(node) => self.nodes.set(node.name, node.place, &mut touched),
            Update::Deleted(node) => self.nodes.remove(node.name),
            Update::Refused(_) => self.nodes_answered = true,
            Update::Interrupted(_) | Update::Resumed | Update::Unchanged => {}
        }
        touched
    }

    /// A slice has changed: which objects its service uses follows.
    pub(super) fn slice_changed(&mut self, before: Option<&Slice>, after: Option<&Slice>) {
        // First what comes, so that an object in both has a user all the time.
        if let Some(after) = after {
            let service = Arc::new(after.service.clone());
            for endpoint in &after.endpoints {
                let (pod, node) = used(endpoint);
                pod.into_iter().for_each(|pod| self.pods.add_user(pod, &service));
                node.into_iter().for_each(|node| self.nodes.add_user(node.clone(), &service));
            }
        }
        if let Some(before) = before {
            for endpoint in &before.endpoints {
                let (pod, node) = used(endpoint);
                pod.iter().for_each(|pod| self.pods.remove_user(pod, &before.service));
                node.into_iter().for_each(|node| self.nodes.remove_user(node, &before.service));
            }
        }
    }

    /// Completes a service's endpoints. `labels`: those of its Pods that the service names.
    pub(super) fn complete(&self, service: &mut Service, labels: &BTreeSet<Arc<str>>) {
        for port in &mut service.ports {
            for endpoint in Arc::make_mut(&mut port.endpoints) {
                self.complete_endpoint(endpoint, labels);
            }
        }
    }

    fn complete_endpoint(&self, endpoint: &mut Endpoint, labels: &BTreeSet<Arc<str>>) {
        if let Some(place) = endpoint.node.as_ref().and_then(|node| self.nodes.get(node)) {
            endpoint.region.clone_from(&place.region);
            // The slice's comes first: its controller may know better.
            endpoint.zone = endpoint.zone.take().or_else(|| place.zone.clone());
        }
        if let Some(pod) = endpoint.pod.and_then(|pod| self.pods.get(&pod)) {
            endpoint.ready_since = pod.ready_since.filter(|_| endpoint.health == Health::Ready);
            if let Some(of_pod) = &pod.labels {
                endpoint.labels = match of_pod.keys().all(|key| labels.contains(key)) {
                    true => of_pod.clone(),
                    // Other services of the namespace name others.
                    false => Arc::new(of_those(of_pod, labels)),
                };
            }
        }
    }
}

fn of_those(labels: &Labels, keys: &BTreeSet<Arc<str>>) -> Labels {
    let kept = labels.iter().filter(|(key, _)| keys.contains(*key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The Pod and the Node of an endpoint.
fn used(endpoint: &SliceEndpoint) -> (Option<NonZeroU64>, Option<&Arc<str>>) {
    (endpoint.uid.as_deref().map(pod_key), endpoint.node.as_ref())
}
