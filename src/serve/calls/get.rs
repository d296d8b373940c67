//! `GetService`: one service with its endpoints, as this node sees them.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Agent;
use crate::{
    api::v1,
    catalog::{Catalog, Endpoint, Found, Health, Labels, LookupError, Port, Service},
    identity::Identity,
    publish::EndpointStatus,
    serve::{Error, limits},
};

impl Agent {
    /// A service with the endpoints of the named port, or of all its ports if none is named.
    ///
    /// # Errors
    /// The name is malformed, or there is no such service.
    pub async fn get_service(
        &self,
        identity: Identity,
        request: &v1::GetServiceRequest,
        deadline: Option<Duration>,
    ) -> Result<v1::GetServiceResponse, Error> {
        let wait = limits::wait(None, deadline);
        let asked = self.resolver.parse_allowed(identity, &request.service)?;
        let catalog = self.resolver.catalog();
        let (service, ports) =
            match all_ports(catalog, catalog.lookup_wait_by(Some(identity), &asked, wait).await) {
                Ok(found) => found,
                Err(error) => {
                    return Err(self
                        .resolver
                        .not_found(identity, &request.service, error, wait)
                        .await);
                }
            };
        let port = match ports.len() {
            1 => service.ports.get(ports.start).map(port_name).unwrap_or_default(),
            _ => String::new(),
        };
        let mut endpoints = Vec::new();
        for port in ports {
            let found = Found { service: service.clone(), port };
            let live = self.resolver.open(identity, &request.service, &found, Labels::new())?;
            endpoints.extend(live.endpoints().iter().map(endpoint));
        }
        let service = Some(self.summary_of_known(&service));
        Ok(v1::GetServiceResponse { service, port, endpoints })
    }
}

/// The service and the port that was found, or all of its ports if the name has none and there are
/// several.
pub(in crate::serve) fn all_ports(
    catalog: &Catalog,
    found: Result<Found, LookupError>,
) -> Result<(Arc<Service>, Range<usize>), LookupError> {
    let error = match found {
        Ok(Found { service, port }) => return Ok((service, port..port + 1)),
        Err(error) => error,
    };
    let several = match &error {
        LookupError::PortNeeded { service, .. } => catalog.get(service),
        _ => None,
    };
    let service = several.ok_or(error)?;
    let ports = 0..service.ports.len();
    Ok((service, ports))
}

fn port_name(port: &Port) -> String {
    match (&port.name, port.number) {
        (Some(name), _) => name.to_string(),
        (None, Some(number)) => number.to_string(),
        (None, None) => String::new(),
    }
}

fn endpoint(status: &EndpointStatus) -> v1::Endpoint {
    v1::Endpoint {
        weight: status.weight,
        state: status.state.as_str().to_owned(),
        in_flight: status.in_flight,
        standing: status.standing,
        requests: status.requests,
        failures: status.failures,
        mean_latency: status.mean_latency.map(Into::into),
        ..endpoint_of_source(&status.endpoint)
    }
}

/// An endpoint as its source describes it, without this node's observations.
pub(in crate::serve) fn endpoint_of_source(endpoint: &Endpoint) -> v1::Endpoint {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    v1::Endpoint {
        address: endpoint.address.ip().to_string(),
        port: endpoint.address.port().into(),
        region: text(&endpoint.region),
        zone: text(&endpoint.zone),
        node: text(&endpoint.node),
        weight: endpoint.weight.into(),
        health: health(endpoint.health).to_owned(),
        labels: endpoint.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ready_since: endpoint.ready_since.map(timestamp),
        server_name: text(&endpoint.server_name),
        priority: endpoint.priority.into(),
        ..v1::Endpoint::default()
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Ready => "ready",
        Health::Draining => "draining",
        Health::Unready => "unready",
    }
}

/// A wall-clock time; 1970 if it is earlier.
pub(in crate::serve) fn timestamp(time: SystemTime) -> pbjson_types::Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pbjson_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
    }
}
