//! The catalog as an agent's resources.

use std::{collections::BTreeMap, time::SystemTime};

use prost::Message;
use xds::{
    Resource,
    proto::{
        envoy::config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::{HealthStatus, Metadata},
            endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints},
        },
        pack,
    },
};

use crate::{
    catalog::{Endpoint, Health, NodeScope, PreviousValue, Service, Setting, SettingError},
    discovery::{
        assignment::{Place, by_place, host, locality_of, wrapped},
        proto::{
            EndpointFacts, METADATA, Namespace, ServiceFacts,
            namespace::{Port as NamedPort, Service as NamedService},
            service_facts,
        },
    },
};

/// A service as its namespace's resource names it. `clusters`: the names of its ports' clusters.
pub fn named(service: &Service, clusters: &[String]) -> NamedService {
    let port = |(port, cluster): (&crate::catalog::Port, &String)| NamedPort {
        name: port.name.as_deref().unwrap_or_default().to_owned(),
        number: port.number.unwrap_or_default().into(),
        cluster: cluster.clone(),
    };
    NamedService {
        name: service.name.name.to_string(),
        ports: service.ports.iter().zip(clusters).map(port).collect(),
    }
}

/// The resource of a namespace with these services, which are in the order of their names.
pub fn namespace(name: &str, services: impl Iterator<Item = NamedService>) -> Resource {
    let namespace = Namespace { services: services.collect() };
    Resource::new(name, namespace.encode_to_vec())
}

/// The cluster of one of the service's ports. `parts`: how many its assignment has.
pub fn cluster(name: &str, service: &Service, parts: u32) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        metadata: Some(metadata(&facts(service, parts))),
        ..Cluster::default()
    };
    Resource::new(name, cluster.encode_to_vec())
}

fn facts(service: &Service, parts: u32) -> ServiceFacts {
    let setting = |setting: &Setting| service_facts::Setting {
        key: setting.key.clone(),
        value: setting.value.clone(),
        origin: setting.origin.clone(),
        implied: setting.implied,
        wrong: setting.wrong.as_ref().map(|wrong| wrong.why.clone()).unwrap_or_default(),
        before: match setting.wrong.as_deref() {
            Some(SettingError { before: PreviousValue::Value(value), .. }) => Some(value.clone()),
            _ => None,
        },
        unset_before: setting
            .wrong
            .as_ref()
            .is_some_and(|wrong| wrong.before == PreviousValue::Unset),
    };
    ServiceFacts {
        settings: service.settings.iter().map(setting).collect(),
        notes: service.notes.clone(),
        source: service.source.to_string(),
        uid: service.uid.as_deref().unwrap_or_default().to_owned(),
        own_node: service.eligibility.nodes == NodeScope::OwnNode,
        stale: service.stale,
        assignment_parts: if parts > 1 { parts } else { 0 },
    }
}

/// The assignment of a port with these endpoints, or a part of it.
pub fn assignment<'a>(name: &str, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Resource {
    let places = by_place(endpoints.into_iter().map(|each| (each.priority.into(), each)));
    let place =
        |((priority, region, zone), endpoints): (Place<'_>, Vec<&Endpoint>)| LocalityLbEndpoints {
            locality: Some(locality_of(region, zone)),
            lb_endpoints: endpoints.into_iter().map(message).collect(),
            priority,
            ..LocalityLbEndpoints::default()
        };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: places.into_iter().map(place).collect(),
        ..ClusterLoadAssignment::default()
    };
    Resource::new(name, assignment.encode_to_vec())
}

fn message(endpoint: &Endpoint) -> LbEndpoint {
    let health = match endpoint.health {
        Health::Ready => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unready => HealthStatus::Unhealthy,
    };
    let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(ToString::to_string).collect();
    let hints = endpoint.hints.as_deref();
    let facts = EndpointFacts {
        node: endpoint.node.as_deref().unwrap_or_default().to_owned(),
        ready_since_ms: endpoint.ready_since.map_or(0, milliseconds),
        labels: (endpoint.labels.iter())
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        server_name: endpoint.server_name.as_deref().unwrap_or_default().to_owned(),
        hinted_zones: hints.map(|hints| texts(&hints.zones)).unwrap_or_default(),
        hinted_nodes: hints.map(|hints| texts(&hints.nodes)).unwrap_or_default(),
        pod: endpoint.pod.map_or(0, std::num::NonZero::get),
        braked: endpoint.braked,
    };
    LbEndpoint {
        host_identifier: Some(host(endpoint.address)),
        health_status: health.into(),
        // 100 bytes each that say nothing would be most of an assignment.
        metadata: (facts != EndpointFacts::default()).then(|| metadata(&facts)),
        load_balancing_weight: wrapped(endpoint.weight),
    }
}

/// A time before 1970 is no time at which a pod became ready.
fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn metadata(facts: &impl xds::proto::TypeUrl) -> Metadata {
    Metadata {
        typed_filter_metadata: BTreeMap::from([(METADATA.to_owned(), pack(facts))]),
        ..Metadata::default()
    }
}
