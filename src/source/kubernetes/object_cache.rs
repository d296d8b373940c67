//! The Services and EndpointSlices that the watches told, and the services made of them.
//!
//! The two watches are independent: slices may come before or after their Service. A service is
//! told to the catalog only when both have been listed once.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::watch::Update;
use crate::{
    catalog::{Service, ServiceName},
    source::manifests::{endpoint_slice::Slice, service::KubeService, slice_union::SliceUnion},
};

/// Namespace and name of a slice.
type SliceKey = (Arc<str>, Arc<str>);

/// Services that may have changed.
type Touched = Vec<ServiceName>;

/// The objects from both watches.
#[derive(Debug, Default)]
pub(super) struct ObjectCache {
    union: SliceUnion,
    services: HashSet<ServiceName>,
    slices: HashSet<SliceKey>,
    services_listed: bool,
    slices_listed: bool,
    stale: bool,
    /// Malformed objects with their errors. Their last valid version stays.
    malformed: BTreeMap<String, String>,
}

impl ObjectCache {
    /// Marks whether the objects are stale.
    pub(super) fn set_stale(&mut self, stale: bool) {
        self.stale = stale;
    }

    /// Whether both have been listed once.
    pub(super) fn complete(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// What has not been listed yet, for a person.
    pub(super) fn missing(&self) -> &'static str {
        match (self.services_listed, self.slices_listed) {
            (false, false) => "its Service and EndpointSlices",
            (false, true) => "its Service",
            (true, _) => "its EndpointSlices",
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
        let service = self.services.contains(name).then(|| self.union.service(name, source))??;
        Some(Service { stale: self.stale, ..service })
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
                    self.union.remove_service(&name);
                    self.malformed.remove(&placed("Service", &name.namespace, &name.name));
                    touched.push(name);
                }
                self.services_listed = true;
            }
            Update::Applied(service) => self.put_service(*service, &mut touched),
            Update::Deleted(service) => {
                self.malformed.remove(&shown("Service", &service.metadata));
                let name = name_of(&service.metadata.name, &service.metadata.namespace);
                if let Some(name) = name.filter(|name| self.services.remove(name)) {
                    self.union.remove_service(&name);
                    touched.push(name);
                }
            }
            Update::Interrupted(_) | Update::Resumed => {}
        }
        touched
    }

    fn put_service(&mut self, service: core::Service, touched: &mut Touched) {
        let shown = shown("Service", &service.metadata);
        self.malformed.remove(&shown);
        match KubeService::of(service) {
            Ok(service) => {
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
            Update::Interrupted(_) | Update::Resumed => {}
        }
        touched
    }

    fn put_slice(&mut self, slice: discovery::EndpointSlice, touched: &mut Touched) {
        let key = slice_key(&slice);
        let shown = shown("EndpointSlice", &slice.metadata);
        self.malformed.remove(&shown);
        match Slice::of(slice) {
            Ok(Some(slice)) => {
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<K: serde::de::DeserializeOwned>(name: &str, mut fields: Value) -> K {
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
