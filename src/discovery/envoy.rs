//! What an Envoy whose clusters come from here needs beside an assignment.

use std::collections::BTreeMap;

use xds::{
    Resource,
    proto::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{
                        ClusterDiscoveryType, CommonLbConfig, DiscoveryType, LbConfig, LbPolicy,
                        LeastRequestLbConfig,
                        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
                    },
                },
                core::v3::Http2ProtocolOptions,
            },
            extensions::upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{UpstreamProtocolOptions, UseDownstreamHttpConfig},
            },
        },
        pack,
    },
};

use super::{
    assignment::wrapped,
    grpc::{CHOICES, by_ads, no_limit},
};

/// The key of the options: their own full name.
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Whoever calls by HTTP/2, as gRPC does, is passed on by HTTP/2. A source need not tell which service speaks
/// what.
fn as_the_caller() -> HttpProtocolOptions {
    let config =
        UseDownstreamHttpConfig { http2_protocol_options: Some(Http2ProtocolOptions::default()) };
    HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            config,
        )),
    }
}

/// The cluster whose assignment has the same name. A zone gets its share by the weights of its endpoints:
/// Envoy's own zone preference needs the number of callers by zone, which it has only in some meshes.
pub fn cluster(name: &str) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(by_ads()),
        lb_policy: LbPolicy::LeastRequest.into(),
        lb_config: Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            choice_count: wrapped(CHOICES),
            ..LeastRequestLbConfig::default()
        })),
        common_lb_config: Some(CommonLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
            ..CommonLbConfig::default()
        }),
        circuit_breakers: Some(no_limit()),
        typed_extension_protocol_options: BTreeMap::from([(
            PROTOCOL_OPTIONS.to_owned(),
            pack(&as_the_caller()),
        )]),
        ..Cluster::default()
    };
    Resource { needs: Some(name.into()), ..Resource::new(name, pack(&cluster).value) }
}
