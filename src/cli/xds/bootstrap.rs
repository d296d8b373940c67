//! `pointsman xds bootstrap`: a client's bootstrap file for a control plane.

use rustix::system::uname;

use super::{envoy, grpc};
use crate::{
    cli::{exit::Failure, output},
    source::xds::server::Address,
};

/// Print a client's bootstrap file: save it, and the client follows the control plane.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    client: Client,
}

#[derive(Debug, clap::Subcommand)]
enum Client {
    /// For gRPC programs, in JSON: `GRPC_XDS_BOOTSTRAP=FILE` names it, and they call `xds:///cart.shop:8080`.
    Grpc(Node),
    /// For an Envoy, in JSON, which its YAML parser reads: `envoy --config-path FILE`. Its listener sends a
    /// request to the service that the Host header (`:authority`) names, such as `cart.shop:8080`.
    Envoy {
        #[command(flatten)]
        node: Node,
        /// A namespace with services that the Envoy may call. Repeat it for several. Default: all.
        #[arg(long = "namespace", value_name = "NAMESPACE")]
        namespaces: Vec<String>,
        /// Where the Envoy listens.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10000")]
        listen: std::net::SocketAddr,
    },
}

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
        let host = || uname().nodename().to_string_lossy().into_owned();
        self.node_id.clone().unwrap_or_else(host)
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = match &args.client {
        Client::Grpc(node) => grpc::bootstrap(node),
        Client::Envoy { node, namespaces, listen } => envoy::bootstrap(node, namespaces, *listen),
    };
    output::print_json(&file)
}
