//! The right answers of an agent for given objects in the API server.
//!
//! The oracle follows the API reference of Kubernetes (Service v1, EndpointSlice v1) and this project's
//! docs/kubernetes.md, services-file.md and balancing.md. It never follows the agent's code. If these
//! pages allow several answers, all of them are right here.

mod brake;
mod endpoints;
mod preference;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use k8s_openapi::api::core::v1::{Service, ServicePort};

pub use endpoints::Health;

use crate::objects::{History, Objects, Place};

/// Mistakes that the oracle makes on purpose, to check that the fuzz notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    Nowhere,
    /// It treats a terminating pod as ready.
    DrainingIsReady,
}

/// A name to ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub service: String,
    pub port: Option<String>,
}

impl Question {
    pub fn name(&self, namespace: &str) -> String {
        let service = &self.service;
        match &self.port {
            Some(port) => format!("{service}.{namespace}:{port}"),
            None => format!("{service}.{namespace}"),
        }
    }
}

/// The right answers. Any of them is right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// The endpoints that may be picked.
    pub picks: BTreeSet<SocketAddr>,
    /// The HTTP status that a pick may end with instead.
    pub codes: BTreeSet<u16>,
    /// The endpoints that must be listed. `None` if the pages do not decide it.
    pub list: Option<BTreeMap<SocketAddr, Health>>,
    /// Further endpoints that may be listed.
    pub may_be_listed: BTreeSet<SocketAddr>,
}

impl Expected {
    fn error(codes: &[u16]) -> Self {
        Self { codes: codes.iter().copied().collect(), ..Self::default() }
    }
}

#[derive(Clone, Copy)]
pub struct Oracle {
    pub wrong: Wrong,
}

const BAD_REQUEST: u16 = 400;
const NOT_FOUND: u16 = 404;
const UNAVAILABLE: u16 = 503;

impl Oracle {
    /// The right answers of an agent at this place now.
    pub fn expected(&self, history: &History, question: &Question, place: Place) -> Expected {
        let now = history.now();
        let Some(service) = now.services.get(&question.service) else {
            return Expected { list: Some(BTreeMap::new()), ..Expected::error(&[NOT_FOUND]) };
        };
        let port = match port_of(service, question.port.as_deref()) {
            Ok(port) => port,
            Err(code) => {
                // An alias has no endpoints, whatever the port.
                let alias = is_alias(service).then_some(UNAVAILABLE);
                let codes: Vec<u16> = alias.into_iter().chain([code]).collect();
                return Expected::error(&codes);
            }
        };
        if is_alias(service) {
            return Expected { list: Some(BTreeMap::new()), ..Expected::error(&[UNAVAILABLE]) };
        }
        let held = brake::held(self, history, &question.service, port, place);
        let mut expected = self.balanced(&now, service, port, place);
        if expected.codes.contains(&UNAVAILABLE) {
            // Endpoints that the brake holds are the last choice.
            let strict = setting(service, "zone") == Some("strict");
            let fits = |zone: &Option<String>| !strict || zone.as_deref() == Some(place.zone);
            let picked = held.iter().filter(|(_, zone)| fits(zone));
            expected.picks.extend(picked.map(|(address, _)| *address));
        }
        expected.may_be_listed.extend(held.into_keys());
        if let Some(virtual_ip) = virtual_ip(service, port) {
            match setting(service, "mode").unwrap_or("on") {
                "on" => {}
                "off" | "shadow" => {
                    expected.picks = [virtual_ip].into();
                    expected.codes.clear();
                }
                // Only a share of the requests is balanced.
                _ => drop(expected.picks.insert(virtual_ip)),
            }
            expected.may_be_listed.insert(virtual_ip);
        }
        expected
    }

    /// By the endpoints, whatever the mode is.
    fn balanced(
        &self,
        now: &Objects,
        service: &Service,
        port: &ServicePort,
        place: Place,
    ) -> Expected {
        let entries = endpoints::of(self, now, service, port);
        let entries = entries.into_iter().filter(|entry| is_reached(service, entry, place));
        let merged = endpoints::merge(entries);
        let zone = setting(service, "zone").unwrap_or("prefer");
        let (picks, may_be_none) = preference::choice(&merged, zone, is_local(service), place);
        let list = merged.iter().map(|(address, same)| (*address, same[0].health)).collect();
        Expected {
            picks,
            codes: may_be_none.then_some(UNAVAILABLE).into_iter().collect(),
            list: Some(list),
            may_be_listed: BTreeSet::new(),
        }
    }
}

/// `internalTrafficPolicy: Local` admits only the endpoints of the agent's node.
fn is_local(service: &Service) -> bool {
    let policy = service.spec.as_ref().and_then(|spec| spec.internal_traffic_policy.as_deref());
    policy == Some("Local")
}

fn is_reached(service: &Service, entry: &endpoints::Entry, place: Place) -> bool {
    !is_local(service) || entry.node.as_deref() == Some(place.node)
}

/// `type: ExternalName`: a DNS name without endpoints.
fn is_alias(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

/// The port that the name means: by name or number, or the only port.
fn port_of<'a>(service: &'a Service, asked: Option<&str>) -> Result<&'a ServicePort, u16> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(asked) = asked else {
        return match ports {
            [port] => Ok(port),
            [] => Err(UNAVAILABLE),
            _ => Err(BAD_REQUEST),
        };
    };
    let is_it =
        |port: &&ServicePort| port.name.as_deref() == Some(asked) || port.port.to_string() == asked;
    ports.iter().find(is_it).ok_or(NOT_FOUND)
}

/// The annotation `pointsman.dev/KEY` of the Service.
fn setting<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    let annotations = service.metadata.annotations.as_ref()?;
    annotations.get(&format!("pointsman.dev/{key}")).map(String::as_str)
}

/// A headless Service has no virtual IP.
fn virtual_ip(service: &Service, port: &ServicePort) -> Option<SocketAddr> {
    let address = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(port.port).ok()?))
}
