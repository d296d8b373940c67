//! A client of a control plane, for its bootstrap file.

use crate::{discovery::client::host_name, source::xds::server::Address};

/// The client, as the control plane sees it.
#[derive(Debug, clap::Args)]
pub(super) struct Node {
    /// The control plane: `unix:///run/pointsman/xds.sock` or `HOST:PORT`.
    #[arg(value_name = "ADDRESS")]
    pub(super) address: Address,
    /// The client's name in the control plane's log. Default: the name of this host.
    #[arg(long, value_name = "ID")]
    pub(super) node_id: Option<String>,
    /// The client's zone, which gRPC and Envoy prefer as their own policies do.
    #[arg(long, value_name = "ZONE", default_value = "")]
    pub(super) zone: String,
    /// The client's region.
    #[arg(long, value_name = "REGION", default_value = "")]
    pub(super) region: String,
}

impl Node {
    pub(super) fn id(&self) -> String {
        self.node_id.clone().unwrap_or_else(host_name)
    }
}
