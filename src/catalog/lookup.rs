//! Finds the service and the port that a caller's name means, or explains why there is none.

use std::sync::Arc;

use super::{
    model::{Port, Service},
    name::{PortRef, ServiceName},
};
use crate::{
    quota::Exhausted,
    suggest::{did_you_mean, similar},
};

/// The most ports that an error lists. More are no help, and would not fit in the trailers of a
/// gRPC answer.
const LISTED: usize = 20;

/// A service and one of its ports.
#[derive(Clone, Debug)]
pub struct Found {
    /// The service.
    pub service: Arc<Service>,
    /// Index of the port.
    pub port: usize,
}

/// Why a lookup failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No source knows it.
    #[error("no service \"{asked}\"{}", did_you_mean(.near))]
    NoSuchService {
        /// What was asked for.
        asked: ServiceName,
        /// Similar names, best first, if a search was made: see `Catalog::near`.
        near: Vec<String>,
    },
    /// The service has no such port.
    #[error("\"{service}\" has no port \"{asked}\"{} {}", did_you_mean_or(.near, ";"), listed(.ports))]
    NoSuchPort {
        /// The service.
        service: ServiceName,
        /// The port asked for.
        asked: PortRef,
        /// Its ports, as a person reads them.
        ports: Vec<String>,
        /// Similar port names, best first.
        near: Vec<String>,
    },
    /// The service has several ports.
    #[error(
        "\"{service}\" has {count} ports: name one, such as \"{service}:{}\"; {}",
        .ports.first().map_or("http", |port| port.split(' ').next().unwrap_or(port)),
        listed(.ports)
    )]
    PortNeeded {
        /// The service.
        service: ServiceName,
        /// How many.
        count: usize,
        /// Its ports, as a person reads them.
        ports: Vec<String>,
    },
    /// The service exists, and its source has not told the endpoints yet.
    #[error("its endpoints are not known yet: {}", .why.as_deref().unwrap_or("no answer so far"))]
    Awaited {
        /// What was asked for.
        service: ServiceName,
        /// What its source waits for.
        why: Option<Arc<str>>,
    },
    /// The service exists, but the caller's quota of services is used up.
    #[error("the agent did not ask for its endpoints: {exhausted}")]
    NotAsked {
        /// What was asked for.
        service: ServiceName,
        /// The quota.
        exhausted: Exhausted,
    },
    /// Some sources have not answered yet; one of them may know it.
    #[error("not known yet: no answer so far from {}", .sources.join(", "))]
    NotSynced {
        /// Sources that have not yet answered.
        sources: Vec<Arc<str>>,
    },
}

fn did_you_mean_or(near: &[String], otherwise: &str) -> String {
    if near.is_empty() { otherwise.to_owned() } else { did_you_mean(near) }
}

fn listed(ports: &[String]) -> String {
    format!("its ports: {}", ports.join(", "))
}

/// Finds the port of a service.
pub(super) fn port(service: &Arc<Service>, asked: Option<&PortRef>) -> Result<Found, LookupError> {
    let index = match asked {
        None if service.ports.len() == 1 => Some(0),
        None => {
            return Err(LookupError::PortNeeded {
                service: service.name.clone(),
                count: service.ports.len(),
                ports: described(service),
            });
        }
        Some(PortRef::Name(name)) => named(service, name),
        // Kubernetes allows "8080" as a port's name.
        Some(PortRef::Number(number)) => service
            .ports
            .iter()
            .position(|port| port.number == Some(*number))
            .or_else(|| named(service, &number.to_string())),
    };
    match (index, asked) {
        (Some(port), _) => Ok(Found { service: service.clone(), port }),
        (None, asked) => Err(LookupError::NoSuchPort {
            service: service.name.clone(),
            asked: asked.cloned().unwrap_or(PortRef::Name("".into())),
            ports: described(service),
            near: near_ports(service, asked),
        }),
    }
}

fn named(service: &Service, name: &str) -> Option<usize> {
    service.ports.iter().position(|port| port.name.as_deref() == Some(name))
}

fn near_ports(service: &Service, asked: Option<&PortRef>) -> Vec<String> {
    let Some(asked) = asked.map(ToString::to_string) else { return Vec::new() };
    let names: Vec<String> = service
        .ports
        .iter()
        .flat_map(|port| {
            [port.name.as_deref().map(str::to_owned), port.number.map(|n| n.to_string())]
        })
        .flatten()
        .collect();
    similar(&asked, names.iter().map(String::as_str))
}

fn described(service: &Service) -> Vec<String> {
    let mut ports: Vec<String> = service.ports.iter().take(LISTED).map(describe).collect();
    if let Some(more) = service.ports.len().checked_sub(LISTED).filter(|more| *more > 0) {
        ports.push(format!("and {more} more"));
    }
    ports
}

fn describe(port: &Port) -> String {
    match (&port.name, port.number) {
        (Some(name), Some(number)) => format!("{name} ({number})"),
        (Some(name), None) => name.to_string(),
        (None, Some(number)) => number.to_string(),
        (None, None) => "one without a name or number (ask without a port)".to_owned(),
    }
}
