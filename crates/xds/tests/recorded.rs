//! Messages as Envoy 1.40 and go-control-plane 0.14 made them, decoded with ours: a field with another
//! number would be missing, or have another field's value. `tests/data/README.md` says how they were recorded.
//!
//! Each value of `tests/xds/go-control-plane/record/content.go` is there once. The names of its functions
//! are the names here.

use std::collections::BTreeMap;

use prost::Message;
use xds::{
    proto::{
        TypeUrl,
        envoy::{
            config::{
                cluster::v3::{
                    CircuitBreakers, Cluster, LoadBalancingPolicy, OutlierDetection,
                    circuit_breakers::Thresholds,
                    cluster::{
                        ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig,
                        LbConfig, LbPolicy, LeastRequestLbConfig, SlowStartConfig,
                        common_lb_config::{LocalityConfigSpecifier, ZoneAwareLbConfig},
                    },
                },
                core::v3::{
                    Address, AggregatedConfigSource, ApiVersion, ConfigSource, HealthStatus,
                    Http2ProtocolOptions, Locality, Metadata, Node, RoutingPriority, RuntimeDouble,
                    SocketAddress, address, config_source::ConfigSourceSpecifier,
                    socket_address::PortSpecifier,
                },
                endpoint::v3::{
                    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                    cluster_load_assignment::{Policy, policy::DropOverload},
                    lb_endpoint::HostIdentifier,
                },
                listener::v3::Listener,
                route::v3::{
                    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                    route::Action,
                    route_action::{ClusterSpecifier, MaxStreamDuration},
                    route_match::PathSpecifier,
                },
            },
            extensions::{
                filters::{
                    http::router::v3::Router,
                    network::http_connection_manager::v3::{
                        HttpConnectionManager, HttpFilter, Rds,
                        http_connection_manager::RouteSpecifier, http_filter::ConfigType,
                    },
                },
                load_balancing_policies::{
                    common::v3::{self as common, LocalityLbConfig, locality_lb_config},
                    least_request::v3::LeastRequest,
                    round_robin::v3::RoundRobin,
                    wrr_locality::v3::WrrLocality,
                },
                upstreams::http::v3::{
                    HttpProtocolOptions,
                    http_protocol_options::{
                        ExplicitHttpConfig, UpstreamProtocolOptions,
                        explicit_http_config::ProtocolConfig,
                    },
                },
            },
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            },
            r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType},
        },
        google::{
            protobuf::{
                Any, Duration, ListValue, Struct, UInt32Value, UInt64Value, Value, value::Kind,
            },
            rpc::Status,
        },
        pack,
    },
    resource_type::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES},
};

/// The messages of a file, each after its length.
fn messages<M: Message + Default>(mut file: &[u8]) -> Vec<M> {
    std::iter::from_fn(|| {
        (!file.is_empty()).then(|| M::decode_length_delimited(&mut file).expect("a message"))
    })
    .collect()
}

fn sotw_requests() -> Vec<DiscoveryRequest> {
    messages(include_bytes!("data/envoy-sotw-requests.bin"))
}

fn delta_requests() -> Vec<DeltaDiscoveryRequest> {
    messages(include_bytes!("data/envoy-delta-requests.bin"))
}

fn sotw_responses() -> Vec<DiscoveryResponse> {
    messages(include_bytes!("data/go-control-plane-sotw-responses.bin"))
}

fn delta_responses() -> Vec<DeltaDiscoveryResponse> {
    messages(include_bytes!("data/go-control-plane-delta-responses.bin"))
}

fn has<M: PartialEq + std::fmt::Debug>(messages: &[M], wanted: &M) {
    assert!(messages.contains(wanted), "{wanted:#?}\nis not among\n{messages:#?}");
}

// === What Envoy asks ===

fn node(id: &str) -> Option<Node> {
    let shop = Value { kind: Some(Kind::StringValue("shop".into())) };
    let namespaces = Value { kind: Some(Kind::ListValue(ListValue { values: vec![shop] })) };
    Some(Node {
        id: id.into(),
        cluster: "edge".into(),
        metadata: Some(Struct {
            fields: BTreeMap::from([("pointsman.dev/namespaces".into(), namespaces)]),
        }),
        locality: locality("region-1", "zone-2", "sub-zone-3"),
        user_agent_name: "envoy".into(),
        client_features: Vec::new(),
    })
}

/// Why Envoy refuses the cluster `wrong`.
fn refusal() -> Option<Status> {
    Some(Status {
        code: 13,
        message: "Error adding/updating cluster(s) wrong: Currently WrrLocalityLoadBalancer only \
                  supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint picking policy."
            .into(),
        details: Vec::new(),
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn what_envoy_asks_in_the_state_of_the_world() {
    let (requests, responses) = (sotw_requests(), sotw_responses());
    let nonce = |type_url: &str, version: &str| {
        let of = |it: &&DiscoveryResponse| it.type_url == type_url && it.version_info == version;
        responses.iter().find(of).expect("a response").nonce.clone()
    };
    let of = |type_url: &str| DiscoveryRequest { type_url: type_url.into(), ..Default::default() };
    assert_eq!(requests[0], DiscoveryRequest { node: node("envoy-sotw"), ..of(CLUSTER) });
    let both = DiscoveryRequest {
        resource_names: names(&["full-assignment", "policies"]),
        ..of(ASSIGNMENT)
    };
    has(&requests, &both);
    has(&requests, &of(LISTENER));
    has(&requests, &DiscoveryRequest { resource_names: names(&["routes"]), ..of(ROUTES) });
    for (type_url, request) in [(CLUSTER, of(CLUSTER)), (ASSIGNMENT, both)] {
        let accepts = DiscoveryRequest {
            version_info: "version-1".into(),
            response_nonce: nonce(type_url, "version-1"),
            ..request
        };
        has(&requests, &accepts);
    }
    let rejects = DiscoveryRequest {
        version_info: "version-1".into(),
        response_nonce: nonce(CLUSTER, "version-2"),
        error_detail: refusal(),
        ..of(CLUSTER)
    };
    has(&requests, &rejects);
    let comes_again = DiscoveryRequest {
        version_info: "version-3".into(),
        node: node("envoy-sotw"),
        ..of(CLUSTER)
    };
    has(&requests, &comes_again);
}

#[test]
fn what_envoy_asks_incrementally() {
    let (requests, responses) = (delta_requests(), delta_responses());
    let response = |type_url: &str, version: &str| {
        let of = |it: &&DeltaDiscoveryResponse| {
            it.type_url == type_url && it.system_version_info == version
        };
        responses.iter().find(of).expect("a response")
    };
    let of =
        |type_url: &str| DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() };
    let answers = |type_url: &str, version: &str| DeltaDiscoveryRequest {
        response_nonce: response(type_url, version).nonce.clone(),
        ..of(type_url)
    };
    let subscribes = |type_url: &str, to: &[&str]| DeltaDiscoveryRequest {
        resource_names_subscribe: names(to),
        ..of(type_url)
    };
    assert_eq!(requests[0], DeltaDiscoveryRequest { node: node("envoy-delta"), ..of(CLUSTER) });
    has(&requests, &subscribes(ASSIGNMENT, &["full-assignment", "policies"]));
    has(&requests, &of(LISTENER));
    has(&requests, &subscribes(ROUTES, &["routes"]));
    has(&requests, &answers(CLUSTER, "version-1"));
    has(&requests, &answers(ASSIGNMENT, "version-1"));
    let rejects =
        DeltaDiscoveryRequest { error_detail: refusal(), ..answers(CLUSTER, "version-2") };
    has(&requests, &rejects);
    let unsubscribes = DeltaDiscoveryRequest {
        resource_names_unsubscribe: names(&["policies"]),
        ..of(ASSIGNMENT)
    };
    has(&requests, &unsubscribes);
    let full = &response(CLUSTER, "version-1").resources[0];
    assert_eq!(full.name, "full");
    let comes_again = DeltaDiscoveryRequest {
        node: node("envoy-delta"),
        initial_resource_versions: BTreeMap::from([("full".into(), full.version.clone())]),
        ..of(CLUSTER)
    };
    has(&requests, &comes_again);
}

// === What go-control-plane answers ===

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

fn double(default_value: f64, runtime_key: &str) -> Option<RuntimeDouble> {
    Some(RuntimeDouble { default_value, runtime_key: runtime_key.into() })
}

fn locality(region: &str, zone: &str, sub_zone: &str) -> Option<Locality> {
    Some(Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() })
}

fn any_number(value: u32) -> Any {
    Any {
        type_url: "type.googleapis.com/google.protobuf.UInt32Value".into(),
        value: UInt32Value { value }.encode_to_vec().into(),
    }
}

fn typed_metadata(key: &str, value: u32) -> Option<Metadata> {
    Some(Metadata {
        typed_filter_metadata: BTreeMap::from([(key.into(), any_number(value))]),
        ..Metadata::default()
    })
}

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: seconds(9),
        resource_api_version: ApiVersion::V3.into(),
    })
}

fn full() -> Cluster {
    let value = Value { kind: Some(Kind::StringValue("value".into())) };
    let http2 = Http2ProtocolOptions { max_concurrent_streams: number(107) };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2)),
            },
        )),
    };
    Cluster {
        name: "full".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            service_name: "full-assignment".into(),
        }),
        connect_timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
        lb_policy: LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                priority: RoutingPriority::High.into(),
                max_connections: number(101),
                max_pending_requests: number(102),
                max_requests: number(103),
                max_retries: number(104),
            }],
        }),
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: number(11),
            interval: seconds(12),
            base_ejection_time: seconds(13),
            max_ejection_percent: number(14),
            enforcing_consecutive_5xx: number(15),
            enforcing_success_rate: number(16),
            success_rate_minimum_hosts: number(17),
            success_rate_request_volume: number(18),
            success_rate_stdev_factor: number(1900),
            consecutive_gateway_failure: number(20),
            enforcing_consecutive_gateway_failure: number(21),
            failure_percentage_threshold: number(26),
            enforcing_failure_percentage: number(27),
            failure_percentage_minimum_hosts: number(29),
            failure_percentage_request_volume: number(30),
            max_ejection_time: seconds(31),
        }),
        metadata: Some(Metadata {
            filter_metadata: BTreeMap::from([(
                "filter".into(),
                Struct { fields: BTreeMap::from([("key".into(), value)]) },
            )]),
            typed_filter_metadata: BTreeMap::from([("typed".into(), any_number(105))]),
        }),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: percent(12.5),
            locality_config_specifier: Some(LocalityConfigSpecifier::ZoneAwareLbConfig(
                ZoneAwareLbConfig {
                    routing_enabled: percent(62.5),
                    min_cluster_size: Some(UInt64Value { value: 106 }),
                    fail_traffic_on_panic: true,
                },
            )),
        }),
        typed_extension_protocol_options: BTreeMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".into(),
            pack(&options),
        )]),
        lb_config: Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            choice_count: number(5),
            active_request_bias: double(1.25, "bias"),
            slow_start_config: Some(SlowStartConfig {
                slow_start_window: seconds(32),
                aggression: double(2.5, "aggression"),
                min_weight_percent: percent(37.5),
            }),
        })),
        load_balancing_policy: None,
    }
}

/// A cluster with a policy. Returns the policy's name and body apart, since its bytes may have another order
/// than ours.
fn with_policy(body: &Any) -> (Cluster, String, Any) {
    let mut cluster: Cluster = decoded(body);
    let policy = cluster.load_balancing_policy.take().expect("a policy");
    let (name, policy) = only(policy);
    (cluster, name, policy)
}

fn only(mut policy: LoadBalancingPolicy) -> (String, Any) {
    assert_eq!(policy.policies.len(), 1);
    let config = policy.policies.remove(0).typed_extension_config.expect("a policy");
    (config.name, config.typed_config.expect("its body"))
}

fn eds(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..Default::default() }),
        ..Cluster::default()
    }
}

fn least_request() -> LeastRequest {
    use locality_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    LeastRequest {
        choice_count: number(6),
        active_request_bias: double(1.75, "other-bias"),
        slow_start_config: Some(common::SlowStartConfig {
            slow_start_window: seconds(33),
            aggression: double(3.5, "other-aggression"),
            min_weight_percent: percent(87.5),
        }),
        locality_lb_config: Some(LocalityLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
        }),
    }
}

fn assignment(name: &str) -> ClusterLoadAssignment {
    let host = |address: &str, port: u32| {
        let address = SocketAddress {
            address: address.into(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        };
        Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(Address { address: Some(address::Address::SocketAddress(address)) }),
            hostname: "host.example".into(),
        }))
    };
    ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![
            LocalityLbEndpoints {
                locality: locality("region-1", "zone-2", "sub-zone-3"),
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: host("192.0.2.1", 8081),
                    health_status: HealthStatus::Draining.into(),
                    metadata: typed_metadata("endpoint", 43),
                    load_balancing_weight: number(42),
                }],
                load_balancing_weight: number(41),
                priority: 0,
                metadata: None,
            },
            LocalityLbEndpoints {
                locality: locality("", "zone-4", ""),
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: host("2001:db8::2", 8082),
                    health_status: HealthStatus::Unhealthy.into(),
                    metadata: None,
                    load_balancing_weight: None,
                }],
                load_balancing_weight: number(44),
                priority: 1,
                metadata: typed_metadata("place", 45),
            },
        ],
        policy: Some(Policy {
            drop_overloads: vec![DropOverload {
                category: "category".into(),
                drop_percentage: Some(FractionalPercent {
                    numerator: 7,
                    denominator: DenominatorType::TenThousand.into(),
                }),
            }],
            overprovisioning_factor: number(145),
            endpoint_stale_after: seconds(3600),
        }),
    }
}

fn connections(stat_prefix: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: stat_prefix.into(),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(ConfigType::TypedConfig(pack(&Router {}))),
        }],
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: "routes".into(),
        })),
    }
}

fn routes() -> RouteConfiguration {
    let route = |path, timeout, max_stream_duration| Route {
        r#match: Some(RouteMatch { path_specifier: Some(path) }),
        action: Some(Action::Route(RouteAction {
            timeout,
            max_stream_duration,
            cluster_specifier: Some(ClusterSpecifier::Cluster("full".into())),
        })),
    };
    let durations = MaxStreamDuration {
        max_stream_duration: seconds(52),
        grpc_timeout_header_max: seconds(53),
        grpc_timeout_header_offset: seconds(54),
    };
    RouteConfiguration {
        name: "routes".into(),
        virtual_hosts: vec![VirtualHost {
            name: "host".into(),
            domains: names(&["a.example", "*"]),
            routes: vec![
                route(PathSpecifier::Path("/path".into()), seconds(51), Some(durations)),
                route(PathSpecifier::Prefix("/prefix".into()), None, None),
            ],
        }],
    }
}

fn decoded<M: TypeUrl + Default>(body: &Any) -> M {
    assert_eq!(body.type_url, M::TYPE_URL);
    M::decode(body.value.clone()).expect("a message")
}

/// Resources of go-control-plane by their names: what a variant's first responses have, and the cluster
/// that is refused.
fn judge(resources: &BTreeMap<(String, String), Any>) {
    let body = |type_url: &str, name: &str| &resources[&(type_url.to_owned(), name.to_owned())];
    let cluster: Cluster = decoded(body(CLUSTER, "full"));
    assert_eq!(cluster, full());
    let options = &cluster.typed_extension_protocol_options;
    decoded::<HttpProtocolOptions>(options.values().next().expect("options"));
    let (cluster, name, policy) = with_policy(body(CLUSTER, "policies"));
    assert_eq!(cluster, eds("policies"));
    assert_eq!(name, "envoy.load_balancing_policies.least_request");
    assert_eq!(decoded::<LeastRequest>(&policy), least_request());
    let (cluster, name, policy) = with_policy(body(CLUSTER, "wrong"));
    assert_eq!(cluster, eds("wrong"));
    assert_eq!(name, "envoy.load_balancing_policies.wrr_locality");
    let within = decoded::<WrrLocality>(&policy).endpoint_picking_policy.expect("a policy");
    let (name, policy) = only(within);
    assert_eq!(name, "envoy.load_balancing_policies.round_robin");
    assert_eq!(decoded::<RoundRobin>(&policy), RoundRobin::default());
    for name in ["full-assignment", "policies"] {
        let of: ClusterLoadAssignment = decoded(body(ASSIGNMENT, name));
        assert_eq!(of, assignment(name));
    }
    let listener: Listener = decoded(body(LISTENER, "api"));
    let manager = listener.api_listener.and_then(|it| it.api_listener).expect("an API listener");
    assert_eq!(decoded::<HttpConnectionManager>(&manager), connections("api"));
    let edge: Listener = decoded(body(LISTENER, "edge"));
    assert_eq!(edge, Listener { name: "edge".into(), api_listener: None });
    assert_eq!(decoded::<RouteConfiguration>(body(ROUTES, "routes")), routes());
}

#[test]
fn what_go_control_plane_answers_in_the_state_of_the_world() {
    let responses = sotw_responses();
    let name = |body: &Any| match &*body.type_url {
        CLUSTER => decoded::<Cluster>(body).name,
        ASSIGNMENT => decoded::<ClusterLoadAssignment>(body).cluster_name,
        LISTENER => decoded::<Listener>(body).name,
        ROUTES => decoded::<RouteConfiguration>(body).name,
        other => panic!("{other}"),
    };
    let mut resources = BTreeMap::new();
    for response in &responses {
        for body in &response.resources {
            assert_eq!(body.type_url, response.type_url);
            resources.insert((body.type_url.clone(), name(body)), body.clone());
        }
    }
    judge(&resources);
    let DiscoveryResponse { version_info, nonce, type_url, .. } = &responses[0];
    assert_eq!((&**version_info, &**nonce, &**type_url), ("version-1", "1", CLUSTER));
}

#[test]
fn what_go_control_plane_answers_incrementally() {
    let responses = delta_responses();
    let mut resources = BTreeMap::new();
    for response in &responses {
        for resource in &response.resources {
            let body = resource.resource.clone().expect("a body");
            assert_eq!(body.type_url, response.type_url);
            // The server makes a version by SHA-256.
            assert_eq!(resource.version.len(), 64, "{}", resource.version);
            resources.insert((body.type_url.clone(), resource.name.clone()), body);
        }
    }
    judge(&resources);
    let DeltaDiscoveryResponse { system_version_info, nonce, type_url, .. } = &responses[0];
    assert_eq!((&**system_version_info, &**nonce, &**type_url), ("version-1", "1", CLUSTER));
    let removal = responses.iter().find(|it| !it.removed_resources.is_empty());
    let removal = removal.expect("a removal");
    assert_eq!((&*removal.type_url, &*removal.system_version_info), (CLUSTER, "version-3"));
    assert!(removal.removed_resources.contains(&"policies".to_owned()));
}
