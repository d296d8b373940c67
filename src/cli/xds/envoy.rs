//! The bootstrap of an Envoy, which calls any service of its namespaces.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::node::Node;
use crate::{discovery::client::NAMESPACES, source::xds::server::Address};

/// The cluster of the control plane itself, which no service can have.
const CONTROL_PLANE: &str = "pointsman-control-plane";

pub(super) fn bootstrap(node: &Node, namespaces: &[String], listen: SocketAddr) -> Value {
    let namespaces = match namespaces {
        [] => json!("*"),
        some => json!(some),
    };
    json!({
        "node": {
            "id": node.id(),
            "cluster": "envoy",
            "locality": { "region": node.region, "zone": node.zone },
            "metadata": { NAMESPACES: namespaces },
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": CONTROL_PLANE } }],
            },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
        },
        "static_resources": {
            "clusters": [cluster(&node.address)],
            "listeners": [listener(listen)],
        },
    })
}

fn cluster(address: &Address) -> Value {
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let (kind, address) = match address {
        Address::Unix(path) => ("STATIC", json!({ "pipe": { "path": path } })),
        Address::Tcp(text) => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let kind = match host.parse::<IpAddr>() {
                Ok(_) => "STATIC",
                Err(_) => "STRICT_DNS",
            };
            (kind, socket_address(host, port.parse().unwrap_or_default()))
        }
    };
    let type_url = format!("type.googleapis.com/{http2}");
    // A control plane that lost its power says nothing: without pings, Envoy would wait for it for ever.
    let keepalive = json!({ "interval": "30s", "timeout": "20s" });
    let protocol = json!({ "http2_protocol_options": { "connection_keepalive": keepalive } });
    json!({
        "name": CONTROL_PLANE,
        "type": kind,
        "typed_extension_protocol_options": {
            http2: { "@type": type_url, "explicit_http_config": protocol },
        },
        "load_assignment": {
            "cluster_name": CONTROL_PLANE,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    })
}

fn listener(listen: SocketAddr) -> Value {
    let manager =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "envoy.extensions.filters.http.router.v3.Router";
    let any = json!({ "prefix": "/" });
    let service = json!({ "match": any, "route": { "cluster_header": ":authority" } });
    // A caller must not get through to the control plane, which takes it for this Envoy.
    let not_here = json!({ "match": any, "direct_response": { "status": 404 } });
    json!({
        "name": "services",
        "address": socket_address(&listen.ip().to_string(), listen.port()),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("type.googleapis.com/{manager}"),
                "stat_prefix": "services",
                "route_config": {
                    "virtual_hosts": [
                        { "name": "control-plane", "domains": [CONTROL_PLANE], "routes": [not_here] },
                        { "name": "services", "domains": ["*"], "routes": [service] },
                    ],
                },
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": format!("type.googleapis.com/{router}") },
                }],
            },
        }] }],
    })
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_is_reached_by_socket_address_or_name() {
        let of = |text: &str| {
            let cluster = cluster(&text.parse().unwrap());
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
            (cluster["type"].clone(), endpoint["endpoint"]["address"].clone())
        };
        let pipe = json!({ "pipe": { "path": "/run/xds.sock" } });
        assert_eq!(of("unix:///run/xds.sock"), (json!("STATIC"), pipe));
        assert_eq!(of("10.0.0.1:18000"), (json!("STATIC"), socket_address("10.0.0.1", 18000)));
        assert_eq!(of("[fd00::1]:18000"), (json!("STATIC"), socket_address("fd00::1", 18000)));
        assert_eq!(of("plane:18000"), (json!("STRICT_DNS"), socket_address("plane", 18000)));
    }
}
