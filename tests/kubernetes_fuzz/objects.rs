//! The objects of a namespace, now and earlier.

use std::collections::BTreeMap;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::Value;
use tokio::time::Instant;

use crate::operation::Kind;

/// The objects of a namespace, as the API server returned them.
#[derive(Clone, Default, PartialEq)]
pub struct Objects {
    pub services: BTreeMap<String, Service>,
    pub slices: BTreeMap<String, EndpointSlice>,
}

impl Objects {
    /// Adds an object that the API server returned.
    pub fn put(&mut self, kind: Kind, name: &str, object: Value) {
        let name = name.to_owned();
        match kind {
            Kind::Service => {
                self.services.insert(name, serde_json::from_value(object).unwrap());
            }
            Kind::EndpointSlice => {
                self.slices.insert(name, serde_json::from_value(object).unwrap());
            }
        }
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Service => drop(self.services.remove(name)),
            Kind::EndpointSlice => drop(self.slices.remove(name)),
        }
    }
}

/// The place of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub node: &'static str,
    pub zone: &'static str,
}

/// All states of the objects since the start, each with its time.
#[derive(Clone, Default)]
pub struct History(pub Vec<(Instant, Objects)>);

impl History {
    pub fn now(&self) -> Objects {
        self.0.last().map(|(_, objects)| objects.clone()).unwrap_or_default()
    }

    pub fn note(&mut self, objects: Objects) {
        self.0.push((Instant::now(), objects));
    }
}
