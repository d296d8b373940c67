//! What an Envoy whose clusters come from here needs beside an assignment.

use xds::{
    Resource,
    proto::{
        envoy::config::cluster::v3::{
            Cluster,
            cluster::{
                ClusterDiscoveryType, CommonLbConfig, DiscoveryType, LbConfig, LbPolicy,
                LeastRequestLbConfig,
                common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
            },
        },
        pack,
    },
};

use super::{
    assignment::wrapped,
    grpc::{CHOICES, by_ads, no_limit},
};

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
        ..Cluster::default()
    };
    Resource { needs: Some(name.into()), ..Resource::new(name, pack(&cluster).value) }
}
