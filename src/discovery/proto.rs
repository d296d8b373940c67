//! What agents are told beside the resources of standard xDS; from `proto/pointsman/discovery`.

use xds::proto::TypeUrl;

include!(concat!(env!("OUT_DIR"), "/pointsman.discovery.v1.rs"));

impl TypeUrl for Namespace {
    const TYPE_URL: &'static str = "type.googleapis.com/pointsman.discovery.v1.Namespace";
}

impl TypeUrl for ServiceFacts {
    const TYPE_URL: &'static str = "type.googleapis.com/pointsman.discovery.v1.ServiceFacts";
}

impl TypeUrl for EndpointFacts {
    const TYPE_URL: &'static str = "type.googleapis.com/pointsman.discovery.v1.EndpointFacts";
}

/// The type URL of a namespace's services.
pub const NAMESPACE: &str = Namespace::TYPE_URL;
/// The key of the metadata of clusters and endpoints.
pub const METADATA: &str = "pointsman.dev";
