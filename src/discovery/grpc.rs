//! What stock gRPC needs beside an assignment: a listener for the name it dials, and a cluster.
//!
//! A gRPC client asks for the listener by the name behind `xds:///`, follows its route to the cluster,
//! and takes the endpoints from the assignment of the same name.

use xds::{
    Resource,
    proto::{
        envoy::{
            config::{
                cluster::v3::{
                    CircuitBreakers, Cluster, LoadBalancingPolicy,
                    circuit_breakers::Thresholds,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                    load_balancing_policy::Policy,
                },
                core::v3::{
                    AggregatedConfigSource, ApiVersion, ConfigSource, TypedExtensionConfig,
                    config_source::ConfigSourceSpecifier,
                },
                listener::v3::{ApiListener, Listener},
                route::v3::{
                    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                    route_action::ClusterSpecifier, route_match::PathSpecifier,
                },
            },
            extensions::{
                filters::{
                    http::router::v3::Router,
                    network::http_connection_manager::v3::{
                        HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
                        http_filter::ConfigType,
                    },
                },
                load_balancing_policies::{
                    least_request::v3::LeastRequest, round_robin::v3::RoundRobin,
                    wrr_locality::v3::WrrLocality,
                },
            },
        },
        google::protobuf::{Any, UInt32Value},
        pack,
    },
};

/// The cluster of names that are no service. It has no endpoints, and no call is routed to it.
pub const NO_SERVICE: &str = "no-such-service";

/// The listener of a name that a client dials, with a route for all calls to a cluster.
pub fn listener(target: &str, cluster: &str) -> Resource {
    listener_with(target, PathSpecifier::Prefix(String::new()), cluster)
}

/// The listener of a name that is no service: no call has a route. A client that never had a listener
/// takes no absence of it for an answer: its calls would wait for 15 s.
pub fn listener_of_no_service(target: &str) -> Resource {
    // The path of a call has a method behind it.
    listener_with(target, PathSpecifier::Path("/".to_owned()), NO_SERVICE)
}

fn listener_with(target: &str, calls: PathSpecifier, cluster: &str) -> Resource {
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(calls) }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..RouteAction::default()
        })),
    };
    let routes = RouteConfiguration {
        name: target.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: target.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
        }],
    };
    let manager = HttpConnectionManager {
        stat_prefix: target.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        // A client refuses a list of filters that does not end in the router.
        http_filters: vec![HttpFilter {
            name: "router".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&Router::default()))),
        }],
    };
    let listener = Listener {
        name: target.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(pack(&manager)) }),
    };
    Resource::new(target, pack(&listener).value)
}

/// The cluster whose assignment has the same name.
pub fn cluster(name: &str) -> Resource {
    // A client takes the first policy that it knows. Some know no least_request, and Envoy takes other
    // policies.
    let picking = policies([pack(&least_request()), pack(&RoundRobin::default())]);
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(by_ads()),
        load_balancing_policy: Some(policies([pack(&WrrLocality {
            endpoint_picking_policy: Some(picking),
        })])),
        circuit_breakers: Some(no_limit()),
        ..Cluster::default()
    };
    Resource { needs: Some(name.into()), ..Resource::new(name, pack(&cluster).value) }
}

/// The assignment comes on the stream that the cluster came on.
pub(super) fn by_ads() -> EdsClusterConfig {
    EdsClusterConfig {
        eds_config: Some(ConfigSource {
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
            resource_api_version: ApiVersion::V3.into(),
            ..ConfigSource::default()
        }),
        service_name: String::new(),
    }
}

/// The endpoints that a pick compares, as the agent's own.
pub(super) const CHOICES: u32 = 2;

fn least_request() -> LeastRequest {
    LeastRequest { choice_count: Some(UInt32Value { value: CHOICES }), ..LeastRequest::default() }
}

/// Without it a client fails calls beyond 1,024 at a time.
pub(super) fn no_limit() -> CircuitBreakers {
    let most = Some(UInt32Value { value: u32::MAX });
    CircuitBreakers { thresholds: vec![Thresholds { max_requests: most, ..Thresholds::default() }] }
}

fn policies<const N: usize>(policies: [Any; N]) -> LoadBalancingPolicy {
    let policy = |config: Any| {
        let name = config.type_url.rsplit('.').next().unwrap_or_default().to_owned();
        let config = TypedExtensionConfig { name, typed_config: Some(config) };
        Policy { typed_extension_config: Some(config) }
    };
    LoadBalancingPolicy { policies: policies.into_iter().map(policy).collect() }
}
