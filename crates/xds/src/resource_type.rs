//! The types of resources, and the order in which a client needs them.

use std::collections::BTreeMap;

use crate::proto::{
    TypeUrl,
    envoy::config::{
        cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
        route::v3::RouteConfiguration,
    },
};

/// The type URL of a cluster.
pub const CLUSTER: &str = Cluster::TYPE_URL;
/// The type URL of a cluster's endpoints.
pub const ASSIGNMENT: &str = ClusterLoadAssignment::TYPE_URL;
/// The type URL of a listener.
pub const LISTENER: &str = Listener::TYPE_URL;
/// The type URL of a listener's routes.
pub const ROUTES: &str = RouteConfiguration::TYPE_URL;

/// The order of updates on an aggregated stream: what refers to another resource comes after it, so
/// that no client sends traffic to a cluster that it does not know yet. Removals go the other way.
/// Types that are not in the list refer to nothing, and come first.
const ORDER: [&str; 4] = [CLUSTER, ASSIGNMENT, LISTENER, ROUTES];

/// These types in the order of their updates.
pub(crate) fn in_order<T>(types: &BTreeMap<String, T>) -> Vec<String> {
    let mut order: Vec<String> = types.keys().cloned().collect();
    order.sort_by_key(|type_url| rank(type_url));
    order
}

/// The place of a type among the updates of a stream.
pub(crate) fn rank(type_url: &str) -> usize {
    ORDER.iter().position(|each| *each == type_url).map_or(0, |place| place + 1)
}

/// Whether a state-of-the-world response of this type lists all resources of the client, so that a
/// resource that is not in it does not exist.
pub(crate) fn lists_all(type_url: &str) -> bool {
    [CLUSTER, LISTENER].contains(&type_url)
}

/// The type of [`Resource::needs`](crate::Resource::needs), for a resource of this type.
pub(crate) fn needed_by(type_url: &str) -> Option<&'static str> {
    match type_url {
        CLUSTER => Some(ASSIGNMENT),
        LISTENER => Some(ROUTES),
        _ => None,
    }
}
