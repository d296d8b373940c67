//! One EndpointSlice, reduced to what a pick needs.
//!
//! Only one slice at a time is read here; [`super::slice_union`] makes services of them.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::discovery::v1 as api;

pub use crate::catalog::Family;
use crate::catalog::{Health, Hints, NameError, ServiceName};

/// The label that names a slice's service; slices without it belong to none.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// One slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Its own name, by which slices are kept.
    pub name: Arc<str>,
    /// The service whose endpoints it lists some of.
    pub service: ServiceName,
    /// The family of all its addresses.
    pub family: Family,
    /// Ports by name, without those that have no number or an invalid one.
    pub ports: Vec<SlicePort>,
    /// In the slice's order.
    pub endpoints: Vec<SliceEndpoint>,
    /// Errors of ports that are left out.
    pub wrong: Vec<SliceError>,
}

/// A port that all of a slice's endpoints have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the service's port; None: the only one.
    pub name: Option<Arc<str>>,
    /// The endpoints' number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Protocol,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// The default.
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    /// The first address; Kubernetes gives the others no meaning.
    pub ip: IpAddr,
    /// The health that follows from its conditions.
    pub health: Health,
    /// Where it runs.
    pub node: Option<Arc<str>>,
    /// Where it runs.
    pub zone: Option<Arc<str>>,
    /// The uid of its pod, equal in the slices of both families.
    pub uid: Option<Arc<str>>,
    /// Where it should be used from.
    pub hints: Option<Arc<Hints>>,
}

/// What makes a slice unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct SliceError {
    /// Path of the field, such as `endpoints[3].addresses[0]`.
    pub field: String,
    /// What is wrong, and what would be valid.
    pub what: String,
}

impl Slice {
    /// Reads a slice. None: it has no service, or DNS names as addresses (Kubernetes gives those no
    /// meaning).
    pub fn of(slice: api::EndpointSlice) -> Result<Option<Self>, SliceError> {
        let metadata = slice.metadata;
        let labels = metadata.labels.unwrap_or_default();
        let Some(service) = labels.get(SERVICE_LABEL).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let family = match slice.address_type.as_str() {
            "IPv4" => Family::Ipv4,
            "IPv6" => Family::Ipv6,
            _ => return Ok(None),
        };
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let service = ServiceName::new(service, namespace, None).map_err(|error: NameError| {
            let field = format!("metadata.labels[\"{SERVICE_LABEL}\"]");
            SliceError { field, what: error.to_string() }
        })?;
        let name = metadata.name.unwrap_or_default().into();
        let (ports, wrong) = ports(slice.ports.unwrap_or_default());
        let mut endpoints = Vec::with_capacity(slice.endpoints.len());
        for (index, endpoint) in slice.endpoints.into_iter().enumerate() {
            endpoints.push(SliceEndpoint::of(index, endpoint, family)?);
        }
        Ok(Some(Self { name, service, family, ports, endpoints, wrong }))
    }
}

/// The valid ports, and the errors of the others. The API server accepts any number, and an invalid
/// one must not cost the endpoints of the other ports.
fn ports(ports: Vec<api::EndpointPort>) -> (Vec<SlicePort>, Vec<SliceError>) {
    let mut read = Vec::with_capacity(ports.len());
    let mut wrong = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        // No number means any port, which gives no address to send a request to.
        let Some(number) = port.port else { continue };
        let Some(number) = u16::try_from(number).ok().filter(|number| *number > 0) else {
            let field = format!("ports[{index}].port");
            let what = format!("{number} is out of range: ports are 1 to 65535");
            wrong.push(SliceError { field, what });
            continue;
        };
        let name = port.name.filter(|name| !name.is_empty()).map(Into::into);
        read.push(SlicePort { name, number, protocol: Protocol::of(port.protocol.as_deref()) });
    }
    (read, wrong)
}

impl Protocol {
    pub(super) fn of(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }
}

impl SliceEndpoint {
    fn of(index: usize, endpoint: api::Endpoint, family: Family) -> Result<Self, SliceError> {
        let wrong = |what| SliceError { field: format!("endpoints[{index}].addresses[0]"), what };
        let Some(address) = endpoint.addresses.first() else {
            return Err(wrong("an endpoint needs an address".to_owned()));
        };
        let ip: IpAddr =
            address.parse().map_err(|_| wrong(format!("\"{address}\" is not an IP address")))?;
        if ip.is_ipv4() != (family == Family::Ipv4) {
            return Err(wrong(format!("\"{address}\" does not fit the slice's addressType")));
        }
        Ok(Self {
            ip,
            health: health(endpoint.conditions.unwrap_or_default()),
            node: endpoint.node_name.map(Into::into),
            zone: endpoint.zone.map(Into::into),
            uid: endpoint.target_ref.and_then(|target| target.uid).map(Into::into),
            hints: endpoint.hints.and_then(hints),
        })
    }
}

/// The health that follows from an endpoint's conditions. The API documents the defaults of unset
/// ones: ready, serving, not terminating.
///
/// The controller derives `ready` from the other two (and from `publishNotReadyAddresses`), so
/// `ready` decides: "ready" while terminating is intended, and "unready" alone comes from
/// controllers without `serving`.
fn health(conditions: api::EndpointConditions) -> Health {
    let serving = conditions.serving.unwrap_or(true);
    let terminating = conditions.terminating.unwrap_or(false);
    match conditions.ready {
        Some(true) | None => Health::Ready,
        Some(false) if terminating && serving => Health::Draining,
        Some(false) => Health::Unready,
    }
}

fn hints(hints: api::EndpointHints) -> Option<Arc<Hints>> {
    let zones: Vec<Arc<str>> =
        hints.for_zones.unwrap_or_default().into_iter().map(|zone| zone.name.into()).collect();
    let nodes: Vec<Arc<str>> =
        hints.for_nodes.unwrap_or_default().into_iter().map(|node| node.name.into()).collect();
    let said = !zones.is_empty() || !nodes.is_empty();
    said.then(|| Arc::new(Hints { zones, nodes }))
}
