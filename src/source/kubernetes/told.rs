//! What the watches of Services and of EndpointSlices have told, and what services come of it.
//!
//! The two are independent: slices come before their Service or after it, and a service is said
//! only when both have been listed once.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

use super::watch::Heard;
use crate::{
    catalog::{Service, ServiceName},
    source::{endpoint_slice::Slice, join::Join, kube_service::KubeService},
};

/// Namespace and name of a slice.
type SliceKey = (Arc<str>, Arc<str>);

/// Services that may have changed.
type Touched = Vec<ServiceName>;

/// All that was told.
#[derive(Debug)]
pub(super) struct Told {
    join: Join,
    services: HashSet<ServiceName>,
    slices: HashSet<SliceKey>,
    services_listed: bool,
    slices_listed: bool,
    /// Objects that could not be understood, and why: what was last known of them stays.
    malformed: BTreeMap<String, String>,
}

impl Told {
    /// Nothing yet; `node` is the agent's own.
    pub(super) fn new(node: Option<Arc<str>>) -> Self {
        Self {
            join: Join::new(node),
            services: HashSet::new(),
            slices: HashSet::new(),
            services_listed: false,
            slices_listed: false,
            malformed: BTreeMap::new(),
        }
    }

    /// Both have been listed once.
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

    /// What could not be understood, for a person.
    pub(super) fn malformed(&self) -> Option<String> {
        let said: Vec<_> = self.malformed.iter().map(|(at, why)| format!("{at}: {why}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The services there are.
    pub(super) fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter()
    }

    /// A service as it is now; none where there is no such Service, whatever slices there are.
    pub(super) fn service(&self, name: &ServiceName, source: &Arc<str>) -> Option<Service> {
        self.services.contains(name).then(|| self.join.service(name, source))?
    }

    /// Takes in what the watch of Services told.
    pub(super) fn hear_service(&mut self, heard: Heard<core::Service>) -> Touched {
        let mut touched = Touched::new();
        match heard {
            Heard::All(services) => {
                let mut gone = std::mem::take(&mut self.services);
                for service in services {
                    let name = name_of(&service.metadata.name, &service.metadata.namespace);
                    if let Some(name) = name {
                        // Also where it is malformed: then what was last known of it stays.
                        if gone.remove(&name) {
                            self.services.insert(name);
                        }
                    }
                    self.put_service(service, &mut touched);
                }
                for name in gone {
                    self.join.remove_service(&name);
                    self.malformed.remove(&format!("Service {}/{}", name.namespace, name.name));
                    touched.push(name);
                }
                self.services_listed = true;
            }
            Heard::Put(service) => self.put_service(*service, &mut touched),
            Heard::Gone(service) => {
                let shown = shown("Service", &service.metadata.namespace, &service.metadata.name);
                self.malformed.remove(&shown);
                let name = name_of(&service.metadata.name, &service.metadata.namespace);
                if let Some(name) = name.filter(|name| self.services.remove(name)) {
                    self.join.remove_service(&name);
                    touched.push(name);
                }
            }
            Heard::Silence(_) => {}
        }
        touched
    }

    fn put_service(&mut self, service: core::Service, touched: &mut Touched) {
        let shown = shown("Service", &service.metadata.namespace, &service.metadata.name);
        self.malformed.remove(&shown);
        match KubeService::of(service) {
            Ok(service) => {
                let name = self.join.put_service(service);
                self.services.insert(name.clone());
                touched.push(name);
            }
            Err(error) => {
                self.malformed.insert(shown, error.to_string());
            }
        }
    }

    /// Takes in what the watch of EndpointSlices told.
    pub(super) fn hear_slice(&mut self, heard: Heard<discovery::EndpointSlice>) -> Touched {
        let mut touched = Touched::new();
        match heard {
            Heard::All(slices) => {
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
            Heard::Put(slice) => self.put_slice(*slice, &mut touched),
            Heard::Gone(slice) => self.drop_slice(&slice_key(&slice), &mut touched),
            Heard::Silence(_) => {}
        }
        touched
    }

    fn put_slice(&mut self, slice: discovery::EndpointSlice, touched: &mut Touched) {
        let key = slice_key(&slice);
        let shown = shown("EndpointSlice", &slice.metadata.namespace, &slice.metadata.name);
        self.malformed.remove(&shown);
        match Slice::of(slice) {
            Ok(Some(slice)) => {
                touched.extend(self.join.put_slice(slice));
                self.slices.insert(key);
            }
            // It may have been a service's before.
            Ok(None) => self.drop_slice(&key, touched),
            Err(error) => {
                self.malformed.insert(shown, error.to_string());
            }
        }
    }

    fn drop_slice(&mut self, key: &SliceKey, touched: &mut Touched) {
        self.slices.remove(key);
        self.malformed.remove(&format!("EndpointSlice {}/{}", key.0, key.1));
        touched.extend(self.join.remove_slice(&key.0, &key.1));
    }
}

/// The name of a Service; none where it can be no service's.
pub(super) fn name_of(name: &Option<String>, namespace: &Option<String>) -> Option<ServiceName> {
    ServiceName::new(name.as_deref()?, namespace.as_deref()?, None).ok()
}

fn slice_key(slice: &discovery::EndpointSlice) -> SliceKey {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&slice.metadata.namespace), text(&slice.metadata.name))
}

fn shown(kind: &str, namespace: &Option<String>, name: &Option<String>) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{kind} {}/{}", text(namespace), text(name))
}
