//! What stands in a namespace, and what stood there before.

use std::collections::BTreeMap;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::Value;
use tokio::time::Instant;

use crate::operation::Kind;

/// The objects of a namespace as the API server answered them.
#[derive(Clone, Default, PartialEq)]
pub struct Objects {
    pub services: BTreeMap<String, Service>,
    pub slices: BTreeMap<String, EndpointSlice>,
}

impl Objects {
    /// After the API server has answered with it.
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

/// Where an agent is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub node: &'static str,
    pub zone: &'static str,
}

/// All that stood there since it began, each with the time at which it came to be so.
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
