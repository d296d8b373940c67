//! The Services and EndpointSlices that the watches told, and the services made of them; with what
//! their endpoints take from Pods and Nodes, if these are watched.
//!
//! The watches are independent: slices may come before or after their Service. A service is told to the
//! catalog only when all have been listed once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    facts::{
        Facts, NodeFacts,
        pod::{PodFacts, WantedLabels},
    },
    watch::Update,
};
use crate::{
    catalog::{Service, ServiceName},
    source::manifests::{endpoint_slice::Slice, service::KubeService, slice_union::SliceUnion},
};

/// Namespace and name of a slice.
type SliceKey = (Arc<str>, Arc<str>);

/// Services that may have changed.
type Touched = Vec<ServiceName>;

/// The objects from all watches.
#[derive(Debug, Default)]
pub(super) struct ObjectCache {
    union: SliceUnion,
    services: HashSet<ServiceName>,
    slices: HashSet<SliceKey>,
    services_listed: bool,
    slices_listed: bool,
    /// None: Pods and Nodes are not watched.
    facts: Option<Facts>,
    wanted_labels: LabelCounts,
    stale: bool,
    /// Malformed objects with their errors. Their last valid version stays.
    malformed: BTreeMap<String, String>,
}

/// How many Services name each label, by namespace.
#[derive(Debug, Default)]
struct LabelCounts {
    named: BTreeMap<Arc<str>, BTreeMap<Arc<str>, usize>>,
    /// There is a label that was not there when the labels were asked for last.
    more: bool,
}

impl LabelCounts {
    fn add(&mut self, namespace: &Arc<str>, labels: &BTreeSet<Arc<str>>) {
        for label in labels {
            let of_namespace = self.named.entry(namespace.clone()).or_default();
            let count = of_namespace.entry(label.clone()).or_default();
            *count += 1;
            self.more |= *count == 1;
        }
    }

    fn remove(&mut self, namespace: &Arc<str>, labels: &BTreeSet<Arc<str>>) {
        let Some(of_namespace) = self.named.get_mut(namespace) else { return };
        for label in labels {
            if let Some(count) = of_namespace.get_mut(label) {
                *count -= 1;
            }
        }
        of_namespace.retain(|_, count| *count > 0);
        if of_namespace.is_empty() {
            self.named.remove(namespace);
        }
    }

    fn wanted(&self) -> WantedLabels {
        let of = |labels: &BTreeMap<Arc<str>, usize>| labels.keys().cloned().collect();
        WantedLabels(self.named.iter().map(|(name, labels)| (name.clone(), of(labels))).collect())
    }
}

impl ObjectCache {
    /// A cache that also has what endpoints take from Pods and Nodes.
    pub(super) fn with_facts() -> Self {
        Self { facts: Some(Facts::default()), ..Self::default() }
    }

    /// Marks whether the objects are stale.
    pub(super) fn set_stale(&mut self, stale: bool) {
        self.stale = stale;
    }

    /// Whether all have been listed once. Pods and Nodes may be refused instead.
    pub(super) fn complete(&self) -> bool {
        let facts = self.facts.as_ref().and_then(Facts::missing);
        self.services_listed && self.slices_listed && facts.is_none()
    }

    /// The labels of Pods that Services name, if all Services are known and they name more than at the last
    /// call.
    pub(super) fn more_labels(&mut self) -> Option<WantedLabels> {
        let more = self.services_listed && std::mem::take(&mut self.wanted_labels.more);
        more.then(|| self.wanted_labels.wanted())
    }

    /// What has not been listed yet, for a person.
    pub(super) fn missing(&self) -> &'static str {
        match (self.services_listed, self.slices_listed) {
            (false, false) => "its Service and EndpointSlices",
            (false, true) => "its Service",
            (true, false) => "its EndpointSlices",
            (true, true) => self.facts.as_ref().and_then(Facts::missing).unwrap_or("nothing"),
        }
    }

    /// The malformed objects, for a person.
    pub(super) fn malformed(&self) -> Option<String> {
        let said: Vec<_> = self.malformed.iter().map(|(at, why)| format!("{at}: {why}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter()
    }

    /// A service as it is now. None: it has no Service object, even if it has slices.
    pub(super) fn service(&self, name: &ServiceName, source: &Arc<str>) -> Option<Service> {
        let mut service =
            self.services.contains(name).then(|| self.union.service(name, source))??;
        service.stale = self.stale;
        if let (Some(facts), Some(labels)) = (&self.facts, self.union.pod_labels(name)) {
            facts.complete(&mut service, labels);
        }
        Some(service)
    }

    /// Applies an update of the watch of Services.
    pub(super) fn update_service(&mut self, update: Update<core::Service>) -> Touched {
        let mut touched = Touched::new();
        match update {
            Update::Listed(services) => {
                let mut gone = std::mem::take(&mut self.services);
                for service in services {
                    let name = name_of(&service.metadata.name, &service.metadata.namespace);
                    if let Some(name) = name {
                        // Even if it is malformed: then its last valid version stays.
                        if gone.remove(&name) {
                            self.services.insert(name);
                        }
                    }
                    self.put_service(service, &mut touched);
                }
                for name in gone {
                    self.remove_service(&name);
                    self.malformed.remove(&placed("Service", &name.namespace, &name.name));
                    touched.push(name);
                }
                // Even if Services name no labels, it is known which.
                self.wanted_labels.more |= !std::mem::replace(&mut self.services_listed, true);
            }
            Update::Applied(service) => self.put_service(*service, &mut touched),
            Update::Deleted(service) => {
                self.malformed.remove(&shown("Service", &service.metadata));
                let name = name_of(&service.metadata.name, &service.metadata.namespace);
                if let Some(name) = name.filter(|name| self.services.remove(name)) {
                    self.remove_service(&name);
                    touched.push(name);
                }
            }
            Update::Interrupted(_) | Update::Refused(_) | Update::Resumed | Update::Unchanged => {}
        }
        touched
    }

    fn remove_service(&mut self, name: &ServiceName) {
        if let Some(labels) = self.union.pod_labels(name) {
            self.wanted_labels.remove(&name.namespace, labels);
        }
        self.union.remove_service(name);
    }

    fn put_service(&mut self, service: core::Service, touched: &mut Touched) {
        let shown = shown("Service", &service.metadata);
        self.malformed.remove(&shown);
        match KubeService::of(service) {
            Ok(service) => {
                // First what comes, so that a label that stays is no more than before.
                self.wanted_labels.add(&service.name.namespace, &service.pod_labels);
                if let Some(before) = self.union.pod_labels(&service.name) {
                    self.wanted_labels.remove(&service.name.namespace, before);
                }
                let name = self.union.put_service(service);
                self.services.insert(name.clone());
                touched.push(name);
            }
            Err(error) => {
                self.malformed.insert(shown, error.to_string());
            }
        }
    }

    /// Applies an update of the watch of EndpointSlices.
    pub(super) fn update_slice(&mut self, update: Update<discovery::EndpointSlice>) -> Touched {
        let mut touched = Touched::new();
        match update {
            Update::Listed(slices) => {
                let mut gone = std::mem::take(&mut self.slices);
                for slice in slices {
                    let key = slice_key(&slice);
                    if gone.remove(&key) {
                        self.slices.insert(key);
                    }
                    self.put_slice(slice, &mut touched);
                }
                for key in gone {
                    self.drop_slice(&key, &mut touched);
                }
                self.slices_listed = true;
            }
            Update::Applied(slice) => self.put_slice(*slice, &mut touched),
            Update::Deleted(slice) => self.drop_slice(&slice_key(&slice), &mut touched),
            Update::Interrupted(_) | Update::Refused(_) | Update::Resumed | Update::Unchanged => {}
        }
        touched
    }

    /// Applies an update of the watch of Pods.
    pub(super) fn update_pod(&mut self, update: Update<PodFacts>) -> Touched {
        self.facts.as_mut().map(|facts| facts.update_pod(update)).unwrap_or_default()
    }

    /// Applies an update of the watch of Nodes.
    pub(super) fn update_node(&mut self, update: Update<NodeFacts>) -> Touched {
        self.facts.as_mut().map(|facts| facts.update_node(update)).unwrap_or_default()
    }

    fn put_slice(&mut self, slice: discovery::EndpointSlice, touched: &mut Touched) {
        let key = slice_key(&slice);
        let shown = shown("EndpointSlice", &slice.metadata);
        self.malformed.remove(&shown);
        match Slice::of(slice) {
            Ok(Some(slice)) => {
                if let Some(facts) = &mut self.facts {
                    facts.slice_changed(self.union.slice(&key.0, &key.1), Some(&slice));
                }
                touched.extend(self.union.put_slice(slice));
                self.slices.insert(key);
            }
            // It may have belonged to a service before.
            Ok(None) => self.drop_slice(&key, touched),
            Err(error) => {
                self.malformed.insert(shown, error.to_string());
            }
        }
    }

    fn drop_slice(&mut self, key: &SliceKey, touched: &mut Touched) {
        self.slices.remove(key);
        self.malformed.remove(&placed("EndpointSlice", &key.0, &key.1));
        if let Some(facts) = &mut self.facts {
            facts.slice_changed(self.union.slice(&key.0, &key.1), None);
        }
        touched.extend(self.union.remove_slice(&key.0, &key.1));
    }
}

/// The name of a Service. None: it is invalid.
pub(super) fn name_of(name: &Option<String>, namespace: &Option<String>) -> Option<ServiceName> {
    ServiceName::new(name.as_deref()?, namespace.as_deref()?, None).ok()
}

fn slice_key(slice: &discovery::EndpointSlice) -> SliceKey {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&slice.metadata.namespace), text(&slice.metadata.name))
}

/// An object's name for a person, the key of `malformed`.
fn shown(kind: &str, metadata: &ObjectMeta) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    placed(kind, &text(&metadata.namespace), &text(&metadata.name))
}

fn placed(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

#[cfg(test)]
mod facts_tests;
#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(super) fn object<K: serde::de::DeserializeOwned>(name: &str, mut fields: Value) -> K {
        fields["metadata"]["name"] = name.into();
        fields["metadata"]["namespace"] = "shop".into();
        serde_json::from_value(fields).unwrap()
    }

    fn service(name: &str) -> core::Service {
        object(name, json!({ "spec": { "ports": [{ "name": "http", "port": 80 }] } }))
    }

    fn slice(name: &str, of: &str, ip: &str) -> discovery::EndpointSlice {
        let fields = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": of } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }],
            "endpoints": [{ "addresses": [ip] }]
        });
        object(name, fields)
    }

    fn addresses(cache: &ObjectCache, name: &str) -> Option<Vec<String>> {
        let service = cache.service(&name.parse().unwrap(), &"test".into())?;
        let endpoints = service.ports.iter().flat_map(|port| port.endpoints.iter());
        Some(endpoints.map(|endpoint| endpoint.address.to_string()).collect())
    }

    #[test]
    fn line_17_slices_that_come_first_wait_for_their_service() {
        let mut cache = ObjectCache::default();
        cache.update_slice(Update::Listed(vec![slice("a", "cart", "10.0.0.1")]));
        assert!(!cache.complete());
        assert_eq!(cache.missing(), "its Service");
        assert_eq!(addresses(&cache, "cart.shop"), None, "slices alone are no service");
        cache.update_service(Update::Listed(vec![service("cart")]));
        assert!(cache.complete());
        assert_eq!(addresses(&cache, "cart.shop").unwrap(), ["10.0.0.1:8080"]);
    }

    #[test]
    fn line_09_what_a_new_list_lacks_is_gone() {
        let mut cache = ObjectCache::default();
        cache.update_service(Update::Listed(vec![service("cart"), service("users")]));
        let two = vec![slice("a", "cart", "10.0.0.1"), slice("b", "cart", "10.0.0.2")];
        cache.update_slice(Update::Listed(two));
        let touched = cache.update_slice(Update::Listed(vec![slice("b", "cart", "10.0.0.2")]));
        assert!(touched.contains(&"cart.shop".parse().unwrap()));
        assert_eq!(addresses(&cache, "cart.shop").unwrap(), ["10.0.0.2:8080"]);
        let touched = cache.update_service(Update::Listed(vec![service("cart")]));
        assert!(touched.contains(&"users.shop".parse().unwrap()));
        assert_eq!(addresses(&cache, "users.shop"), None);
        cache.update_service(Update::Deleted(Box::new(service("cart"))));
        assert_eq!(addresses(&cache, "cart.shop"), None);
    }

    #[test]
    fn a_malformed_object_leaves_what_was_known_of_it_and_is_told_until_it_is_mended() {
        let mut cache = ObjectCache::default();
        cache.update_service(Update::Listed(vec![service("cart")]));
        cache.update_slice(Update::Listed(vec![slice("a", "cart", "10.0.0.1")]));
        let wrong = || slice("a", "cart", "10.0.0.256");
        cache.update_slice(Update::Applied(Box::new(wrong())));
        assert_eq!(addresses(&cache, "cart.shop").unwrap(), ["10.0.0.1:8080"]);
        let said = cache.malformed().unwrap();
        assert!(said.starts_with("EndpointSlice shop/a: endpoints[0].addresses[0]:"), "{said}");
        cache.update_slice(Update::Listed(vec![wrong()]));
        assert_eq!(addresses(&cache, "cart.shop").unwrap(), ["10.0.0.1:8080"]);
        cache.update_slice(Update::Applied(Box::new(slice("a", "cart", "10.0.0.3"))));
        assert_eq!(addresses(&cache, "cart.shop").unwrap(), ["10.0.0.3:8080"]);
        assert_eq!(cache.malformed(), None);
    }
}
