//! The format of a services file (docs/services-file.md), and what it means.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::content::Content;
use crate::{
    catalog::{Endpoint, Health, Interner, MOST_FALLBACKS, Port, Service, ServiceName},
    source::{
        problem::Problem,
        yaml::{document, patterns, policy_block::PolicyBlock},
    },
    suggest::{did_you_mean, similar},
};

/// Services and their endpoints, as a person or a program writes them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pointsman services file")]
pub(super) struct ServicesFile {
    /// The services; an empty list is valid, an empty file is not.
    #[schemars(with = "Vec<ServiceEntry>")]
    services: Vec<ServiceRead>,
}

/// A service as read from its entry alone. Each entry is converted as soon as it is read: keeping
/// all entries of a large file at once would fragment the memory by more than the services take.
#[derive(Deserialize)]
#[serde(from = "ServiceEntry")]
struct ServiceRead {
    name: Spanned<Name>,
    policy: Option<PolicyBlock>,
    fallback: Vec<ServiceName>,
    ports: Result<Vec<Port>, EntryError>,
}

/// A problem within a service's entry.
struct EntryError {
    at: Location,
    /// The path within the service, such as `endpoints[2].address`.
    field: String,
    what: String,
}

/// One service.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Service")]
struct ServiceEntry {
    /// name.namespace, or name.namespace@cluster
    #[schemars(with = "String", regex(pattern = patterns::SERVICE))]
    name: Spanned<Name>,
    /// The service's ports. Without them each endpoint's address has a port.
    #[serde(default)]
    ports: Vec<PortEntry>,
    /// The settings of its policy.
    policy: Option<PolicyBlock>,
    /// Up to four services that stand in where the endpoints do not suffice, the first choice first.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 4), inner(regex(pattern = patterns::SERVICE)))]
    fallback: Vec<Spanned<Name>>,
    /// The service's endpoints.
    endpoints: Vec<EndpointEntry>,
}

/// One port of a service.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Port")]
struct PortEntry {
    /// The port's name. Required if the service has several ports.
    name: Option<String>,
    /// The service's port. Each endpoint has the same port, unless it sets its own.
    #[schemars(with = "std::num::NonZeroU16")]
    port: Spanned<PortNumber>,
}

/// One endpoint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
struct EndpointEntry {
    /// An IP address, with a port (10.1.2.3:8080, [fd00::1]:8080) if the service has no ports.
    #[schemars(with = "String")]
    address: Spanned<Address>,
    /// The region that it runs in.
    region: Option<Arc<str>>,
    /// The zone that it runs in.
    zone: Option<Arc<str>>,
    /// The node that it runs on.
    node: Option<Arc<str>>,
    /// The relative capacity. An endpoint with 0 gets no traffic.
    #[serde(default = "one")]
    #[schemars(range(max = 4_294_967_295u32))]
    weight: u32,
    /// Whether it takes requests.
    #[serde(default)]
    health: HealthEntry,
    /// Labels that requests may select endpoints by.
    #[serde(default)]
    labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Ports that differ from the service's, by the port's name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, std::num::NonZeroU16>")]
    ports: BTreeMap<String, Spanned<PortNumber>>,
    /// When it became ready, such as 2026-01-01T00:00:00Z.
    #[schemars(with = "Option<String>")]
    ready_since: Option<Time>,
    /// The name that the server's certificate must have.
    server_name: Option<Arc<str>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Health")]
enum HealthEntry {
    /// Takes requests.
    #[default]
    Ready,
    /// Serves, but will end soon: picked only if no endpoint is ready.
    Draining,
    /// Never picked.
    Unready,
}

fn one() -> u32 {
    1
}

enum IpOrSocket {
    Ip(IpAddr),
    Socket(SocketAddr),
}

document::from_text!(Name(ServiceName), |text| text.parse().map_err(|error| format!("{error}")));
document::from_text!(PortNumber(u16), |text| match text.parse::<u16>() {
    Ok(number) if number > 0 => Ok(number),
    _ => Err(format!("\"{text}\" is not a port: ports are 1 to 65535")),
});
document::from_text!(Time(SystemTime), |text| humantime::parse_rfc3339(text)
    .map_err(|_| format!("\"{text}\" is not a time: write it as 2026-01-01T00:00:00Z (in UTC)")));
document::from_text!(Address(IpOrSocket), |text| {
    let socket = text.parse().map(IpOrSocket::Socket);
    socket.or_else(|_| text.parse().map(IpOrSocket::Ip)).map_err(|_| {
        format!(
            "\"{text}\" is not an IP address: write 10.1.2.3, 10.1.2.3:8080, fd00::1 or \
             [fd00::1]:8080 (names are not looked up)"
        )
    })
});

/// The services of a file, and its invalid settings, which cost nothing else. Err: the whole file
/// is refused.
pub(super) fn content(file: &Arc<str>, parsed: ServicesFile) -> Result<Content, Problem> {
    let source: Arc<str> = format!("file {file}").into();
    let mut lines: HashMap<ServiceName, Location> = HashMap::new();
    let mut content = Content::default();
    for (index, entry) in parsed.services.into_iter().enumerate() {
        let at = entry.name.referenced;
        let place = document::place(file, at);
        if let Some(first) = lines.insert(entry.name.value.0.clone(), at) {
            return Err(Problem {
                place,
                field: format!("services[{index}].name"),
                what: format!(
                    "\"{}\" is already in line {}: join their endpoints, or rename one",
                    entry.name.value.0,
                    first.line()
                ),
            });
        }
        let ports = entry.ports.map_err(|EntryError { at, field, what }| Problem {
            place: document::place(file, at),
            field: format!("services[{index}].{field}"),
            what,
        })?;
        let policy = entry.policy.unwrap_or_default();
        let wrong = policy.problems(file, &format!("services[{index}].policy"));
        content.wrong_settings.extend(wrong);
        let service = Service {
            settings: policy.settings("services file", file),
            fallback: entry.fallback,
            ..Service::new(entry.name.value.0, source.clone(), ports)
        };
        content.services.push((service, place));
    }
    Ok(content)
}

impl From<ServiceEntry> for ServiceRead {
    fn from(entry: ServiceEntry) -> Self {
        let mut ports = entry.ports();
        let mut interner = Interner::new();
        for port in ports.iter_mut().flatten() {
            interner.share_port(port);
        }
        let fallback = entry.fallback.into_iter().map(|name| name.value.0).collect();
        Self { name: entry.name, policy: entry.policy, fallback, ports }
    }
}

impl ServiceEntry {
    fn ports(&self) -> Result<Vec<Port>, EntryError> {
        let wrong = |at, field, what| EntryError { at, field, what };
        let endpoints = |port: Option<&PortEntry>| {
            self.endpoints
                .iter()
                .enumerate()
                .map(|(nth, entry)| {
                    let at = entry.address.referenced;
                    entry
                        .at(port)
                        .map_err(|what| wrong(at, format!("endpoints[{nth}].address"), what))
                })
                .collect::<Result<Arc<[Endpoint]>, EntryError>>()
        };
        if let Some(more) = self.fallback.get(MOST_FALLBACKS) {
            let what = format!("a service has up to {MOST_FALLBACKS} fallbacks: remove the others");
            return Err(wrong(more.referenced, format!("fallback[{MOST_FALLBACKS}]"), what));
        }
        for (nth, port) in self.ports.iter().enumerate() {
            let at = port.port.referenced;
            if port.name.is_none() && self.ports.len() > 1 {
                let what = "each of several ports needs a name".to_owned();
                return Err(wrong(at, format!("ports[{nth}]"), what));
            }
            let twice = self.ports[..nth].iter().any(|earlier| {
                earlier.name == port.name || earlier.port.value.0 == port.port.value.0
            });
            if twice {
                let what = "an earlier port has the same name or number".to_owned();
                return Err(wrong(at, format!("ports[{nth}]"), what));
            }
        }
        for (nth, entry) in self.endpoints.iter().enumerate() {
            for (name, number) in &entry.ports {
                if !self.ports.iter().any(|port| port.name.as_deref() == Some(name)) {
                    let field = format!("endpoints[{nth}].ports.{name}");
                    let names = self.ports.iter().filter_map(|port| port.name.as_deref());
                    let hint = did_you_mean(&similar(name, names));
                    let what = format!("the service has no port named \"{name}\"{hint}");
                    return Err(wrong(number.referenced, field, what));
                }
            }
        }
        if self.ports.is_empty() {
            return Ok(vec![Port { name: None, number: None, endpoints: endpoints(None)? }]);
        }
        self.ports
            .iter()
            .map(|port| {
                Ok(Port {
                    name: port.name.as_deref().map(Into::into),
                    number: Some(port.port.value.0),
                    endpoints: endpoints(Some(port))?,
                })
            })
            .collect()
    }
}

impl EndpointEntry {
    /// The endpoint as it serves a port of the service.
    fn at(&self, port: Option<&PortEntry>) -> Result<Endpoint, String> {
        let address = match (&self.address.value.0, port) {
            (IpOrSocket::Socket(address), None) => *address,
            (IpOrSocket::Ip(ip), Some(port)) => {
                let own = port.name.as_ref().and_then(|name| self.ports.get(name));
                SocketAddr::new(*ip, own.unwrap_or(&port.port).value.0)
            }
            (IpOrSocket::Socket(address), Some(_)) => {
                return Err(format!(
                    "\"{address}\" has a port, but the service has ports: write {}, and \
                     \"ports: {{NAME: {}}}\" where it differs from the service's",
                    address.ip(),
                    address.port()
                ));
            }
            (IpOrSocket::Ip(ip), None) => {
                return Err(format!(
                    "\"{ip}\" has no port, and the service has none: write {}, or give the \
                     service \"ports: [{{port: 8080}}]\"",
                    SocketAddr::new(*ip, 8080)
                ));
            }
        };
        Ok(Endpoint {
            address,
            region: self.region.clone(),
            zone: self.zone.clone(),
            node: self.node.clone(),
            weight: self.weight,
            health: match self.health {
                HealthEntry::Ready => Health::Ready,
                HealthEntry::Draining => Health::Draining,
                HealthEntry::Unready => Health::Unready,
            },
            labels: Arc::new(self.labels.clone()),
            ready_since: self.ready_since.as_ref().map(|time| time.0),
            server_name: self.server_name.clone(),
            priority: 0,
            braked: false,
            hints: None,
            pod: None,
        })
    }
}
