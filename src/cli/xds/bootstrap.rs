//! `pointsman xds bootstrap`: a client's bootstrap file for a control plane.

use super::{envoy, grpc, node::Node};
use crate::cli::{exit::Failure, output};

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
        #[arg(long = "namespace", value_name = "NAMESPACE", value_parser = namespace)]
        namespaces: Vec<String>,
        /// Where the Envoy listens.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10000")]
        listen: std::net::SocketAddr,
    },
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    let name = crate::catalog::name::namespace(text).map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = match &args.client {
        Client::Grpc(node) => grpc::bootstrap(node),
        Client::Envoy { node, namespaces, listen } => envoy::bootstrap(node, namespaces, *listen),
    };
    output::print_json(&file)
}
