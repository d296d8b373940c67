//! The bootstrap of gRPC programs.

use serde_json::{Value, json};

use super::node::Node;

pub(super) fn bootstrap(node: &Node) -> Value {
    json!({
        "xds_servers": [{
            "server_uri": node.address.to_string(),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        // Node.js fails without a locality.
        "node": { "id": node.id(), "locality": { "region": node.region, "zone": node.zone } },
    })
}
