//! The messages, generated from `proto/`. A module's path is the package's name.

use prost::Message;

pub use generated::{envoy, google};
use google::protobuf::Any;

mod generated {
    // The published definitions document the fields. Ours only say what is special.
    #![allow(missing_docs)]

    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

/// A message that travels in an [`Any`].
pub trait TypeUrl: Message {
    /// How the [`Any`] names the message.
    const TYPE_URL: &'static str;
}

// One name makes both the path and the URL, so that they cannot differ.
macro_rules! type_urls {
    ($($first:ident $(. $rest:ident)*;)*) => {$(
        impl TypeUrl for $first $(:: $rest)* {
            const TYPE_URL: &'static str =
                concat!("type.googleapis.com/", stringify!($first) $(, ".", stringify!($rest))*);
        }
    )*};
}

type_urls! {
    envoy.config.cluster.v3.Cluster;
    envoy.config.endpoint.v3.ClusterLoadAssignment;
    envoy.config.listener.v3.Listener;
    envoy.config.route.v3.RouteConfiguration;
    envoy.extensions.filters.http.router.v3.Router;
    envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager;
    envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin;
    envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest;
    envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin;
    envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality;
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions;
}

/// Equal messages give equal bytes.
pub fn pack<M: TypeUrl>(message: &M) -> Any {
    Any { type_url: M::TYPE_URL.to_owned(), value: message.encode_to_vec().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy::config::{cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment};

    #[test]
    fn a_packed_message_has_its_type_url_and_its_bytes() {
        let message = ClusterLoadAssignment { cluster_name: "c".into(), ..Default::default() };
        let packed = pack(&message);
        assert_eq!(
            packed.type_url,
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
        );
        assert_eq!(ClusterLoadAssignment::decode(packed.value).unwrap(), message);
    }

    #[test]
    fn equal_content_is_equal_bytes_in_whatever_order_a_map_was_filled() {
        let keys = ["a", "b", "c", "d", "e"].map(String::from);
        let cluster = |keys: &mut dyn Iterator<Item = String>| Cluster {
            typed_extension_protocol_options: keys.map(|key| (key, Any::default())).collect(),
            ..Default::default()
        };
        assert_eq!(
            pack(&cluster(&mut keys.clone().into_iter())),
            pack(&cluster(&mut keys.into_iter().rev()))
        );
    }
}
