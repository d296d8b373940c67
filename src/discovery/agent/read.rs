//! Resources as the catalog has them. Standard servers send no facts: the defaults hold then.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, SystemTime},
};

use xds::proto::{
    TypeUrl,
    envoy::config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType},
        },
        core::v3::{
            HealthStatus, Metadata, SocketAddress, address::Address, socket_address::PortSpecifier,
        },
        endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
    },
    google::protobuf::Any,
};

use crate::{
    catalog::{
        Endpoint, Health, Hints, NodeScope, PreviousValue, Service, ServiceName, Setting,
        SettingError,
    },
    discovery::{
        agent::parts::MOST_PARTS,
        proto::{EndpointFacts, METADATA, Namespace, ServiceFacts, service_facts},
    },
    policy::settings::validated,
};

/// The highest priority that the interface allows.
const HIGHEST_PRIORITY: u8 = 128;

/// A service as a namespace's resource names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub service: ServiceName,
    pub ports: Vec<NamedPort>,
}

/// A port, and the name of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    pub name: Option<Arc<str>>,
    pub number: Option<u16>,
    pub cluster: Arc<str>,
}

/// What a cluster says.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInfo {
    /// The name of its assignment.
    pub assignment: Arc<str>,
    /// The parts that its assignment is also there in. 1: only the whole.
    pub parts: u32,
    /// What a control plane of Pointsman says of its service.
    pub facts: Option<ServiceFacts>,
}

/// The services of the namespace of this name. Err: what is wrong.
pub fn namespace(name: &str, body: &Any) -> Result<Vec<Named>, String> {
    let namespace: Namespace = message(body)?;
    let (namespace_name, cluster) = match name.split_once('@') {
        Some((namespace, cluster)) => (namespace, Some(cluster)),
        None => (name, None),
    };
    // Copies of these for each of 10,000 services would be a tenth of the memory of all names.
    let shared_namespace: Arc<str> = namespace_name.into();
    let mut port_names: HashSet<Arc<str>> = HashSet::new();
    let named = |service: crate::discovery::proto::namespace::Service| {
        let mut name = ServiceName::new(&service.name, namespace_name, cluster)
            .map_err(|error| format!("service {:?}: {error}", service.name))?;
        name.namespace = shared_namespace.clone();
        let port = |port: crate::discovery::proto::namespace::Port| {
            if port.cluster.is_empty() {
                return Err(format!("service {name}: a port has no cluster"));
            }
            Ok(NamedPort {
                name: text(&port.name).map(|name| one_copy(&mut port_names, name)),
                number: match port.number {
                    0 => None,
                    number => Some(port_number(number)?),
                },
                cluster: port.cluster.into(),
            })
        };
        let ports = service.ports.into_iter().map(port).collect::<Result<_, String>>()?;
        Ok(Named { service: name, ports })
    };
    namespace.services.into_iter().map(named).collect()
}

/// Err: what is wrong.
pub fn cluster(name: &str, body: &Any) -> Result<ClusterInfo, String> {
    let cluster: Cluster = message(body)?;
    if cluster.name != name {
        return Err(format!("its body is the cluster {:?}", cluster.name));
    }
    if cluster.cluster_discovery_type != Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    {
        return Err("it has no endpoints by discovery: only clusters of the type EDS are \
                    understood"
            .to_owned());
    }
    let assignment = match cluster.eds_cluster_config {
        Some(config) if !config.service_name.is_empty() => config.service_name.into(),
        _ => name.into(),
    };
    let facts: Option<ServiceFacts> = facts(cluster.metadata.as_ref())?;
    let parts = facts.as_ref().map_or(1, |facts| facts.assignment_parts.max(1));
    // The whole is there, too.
    let parts = if parts > MOST_PARTS { 1 } else { parts };
    Ok(ClusterInfo { assignment, parts, facts })
}

/// The endpoints of the assignment of this name. Err: what is wrong.
pub fn assignment(name: &str, body: &Any) -> Result<Vec<Endpoint>, String> {
    let assignment: ClusterLoadAssignment = message(body)?;
    if assignment.cluster_name != name {
        return Err(format!("its body is the assignment of {:?}", assignment.cluster_name));
    }
    let mut endpoints = Vec::new();
    for place in &assignment.endpoints {
        let locality = place.locality.as_ref();
        let region = locality.and_then(|it| text(&it.region));
        let zone = locality.and_then(|it| text(&it.zone));
        let priority = u8::try_from(place.priority).ok().filter(|it| *it <= HIGHEST_PRIORITY);
        let priority = priority
            .ok_or_else(|| format!("priority {} is above {HIGHEST_PRIORITY}", place.priority))?;
        for each in &place.lb_endpoints {
            let (region, zone) = (region.clone(), zone.clone());
            endpoints.push(Endpoint {
                region,
                zone,
                priority,
                ..endpoint(each).map_err(|why| format!("endpoint {}: {why}", endpoints.len()))?
            });
        }
    }
    Ok(endpoints)
}

fn endpoint(each: &LbEndpoint) -> Result<Endpoint, String> {
    let facts: EndpointFacts = facts(each.metadata.as_ref())?.unwrap_or_default();
    let texts = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
    let hints = Hints { zones: texts(&facts.hinted_zones), nodes: texts(&facts.hinted_nodes) };
    let health = match each.health_status() {
        HealthStatus::Unknown | HealthStatus::Healthy => Health::Ready,
        HealthStatus::Draining => Health::Draining,
        // Degraded endpoints serve at a pinch; who says so has better ones.
        HealthStatus::Degraded | HealthStatus::Unhealthy | HealthStatus::Timeout => Health::Unready,
    };
    let labels =
        facts.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
    Ok(Endpoint {
        weight: each.load_balancing_weight.as_ref().map_or(1, |weight| weight.value),
        health,
        node: text(&facts.node),
        labels: Arc::new(labels.collect()),
        ready_since: since(facts.ready_since_ms)?,
        server_name: text(&facts.server_name),
        braked: facts.braked,
        hints: (hints != Hints::default()).then(|| Arc::new(hints)),
        pod: NonZeroU64::new(facts.pod),
        ..Endpoint::at(address(each)?)
    })
}

fn address(each: &LbEndpoint) -> Result<SocketAddr, String> {
    let Some(HostIdentifier::Endpoint(endpoint)) = &each.host_identifier else {
        return Err("it has no endpoint of its own".to_owned());
    };
    let Some(Address::SocketAddress(SocketAddress { address, port_specifier, .. })) =
        endpoint.address.as_ref().and_then(|it| it.address.as_ref())
    else {
        return Err("its address is not an IP address with a port".to_owned());
    };
    let ip: IpAddr = address
        .parse()
        .map_err(|_| format!("its address is {address:?}: only IP addresses are understood"))?;
    match port_specifier {
        Some(PortSpecifier::PortValue(port)) if *port > 0 && !ip.is_unspecified() => {
            Ok(SocketAddr::new(ip.to_canonical(), port_number(*port)?))
        }
        Some(PortSpecifier::PortValue(port)) => {
            Err(format!("its address is {ip} with port {port}: no connection goes there"))
        }
        _ => Err(format!("its address {address} has no port number")),
    }
}

/// What the control plane says of a service beside its ports.
pub fn apply(facts: &ServiceFacts, service: &mut Service) {
    let setting = |setting: &service_facts::Setting| Setting {
        key: setting.key.clone(),
        value: setting.value.clone(),
        origin: setting.origin.clone(),
        implied: setting.implied,
        wrong: (!setting.wrong.is_empty()).then(|| {
            Box::new(SettingError {
                why: setting.wrong.clone(),
                before: match &setting.before {
                    Some(value) => PreviousValue::Value(value.clone()),
                    None if setting.unset_before => PreviousValue::Unset,
                    None => PreviousValue::Unknown,
                },
            })
        }),
    };
    service.settings = facts.settings.iter().map(setting).map(checked).collect();
    service.notes.clone_from(&facts.notes);
    service.uid = text(&facts.uid);
    service.stale = facts.stale;
    service.source_brakes = true;
    // The control plane lists eligible endpoints only.
    service.eligibility.nodes = match facts.own_node {
        true => NodeScope::OwnNode,
        false => NodeScope::Everywhere,
    };
}

/// A control plane of another version may know more settings.
fn checked(setting: Setting) -> Setting {
    if setting.implied || setting.wrong.is_some() {
        return setting;
    }
    let checked = validated([setting.clone()]).pop();
    checked.unwrap_or(setting)
}

fn message<M: TypeUrl + Default>(body: &Any) -> Result<M, String> {
    M::decode(body.value.clone()).map_err(|error| format!("it can't be read: {error}"))
}

fn facts<M: TypeUrl + Default>(metadata: Option<&Metadata>) -> Result<Option<M>, String> {
    let facts = metadata.and_then(|metadata| metadata.typed_filter_metadata.get(METADATA));
    match facts {
        Some(facts) if facts.type_url == M::TYPE_URL => message(facts).map(Some),
        Some(facts) => Err(format!("its metadata {METADATA:?} is a {:?}", facts.type_url)),
        None => Ok(None),
    }
}

fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// The copy of the text that is among these, which it becomes if there is none.
fn one_copy(all: &mut HashSet<Arc<str>>, text: Arc<str>) -> Arc<str> {
    if let Some(copy) = all.get(&text) {
        return copy.clone();
    }
    all.insert(text.clone());
    text
}

fn port_number(number: u32) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| format!("{number} is no port"))
}

fn since(ms: i64) -> Result<Option<SystemTime>, String> {
    if ms == 0 {
        return Ok(None);
    }
    let time = u64::try_from(ms).ok().map(Duration::from_millis);
    let time = time.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    time.map(Some).ok_or_else(|| format!("it is ready since {ms} ms after 1970, which is no time"))
}
