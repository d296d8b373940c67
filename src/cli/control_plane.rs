//! `pointsman control-plane`: publishes services by xDS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::exit::Failure;
use crate::{
    agent::logs,
    control_plane::{self, Options, listen::Listen},
    source::{Cluster, Spec},
};

/// The default address of the admin pages.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9910);

/// Run a control plane, which tells agents, gRPC and Envoy of services by xDS.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A source of services, such as file:services.yaml or kubernetes. May be given several times: the first source that
    /// knows a service owns its endpoints.
    #[arg(long = "source", value_name = "KIND:WHERE", required = true, value_parser = source)]
    sources: Vec<Spec>,
    /// Where clients connect: unix:///PATH, or an IP address with a port.
    #[arg(long, value_name = "ADDR|URI", default_value = "unix:///run/pointsman/xds.sock")]
    listen: Listen,
    /// The address of /livez, /readyz, /metrics and the page of clients.
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_ADMIN)]
    admin: SocketAddr,
    /// The log filter, such as debug.
    #[arg(long, value_name = "FILTER", default_value = super::agent::DEFAULT_LOG)]
    log: String,
    /// The format of the log.
    #[arg(long, value_enum, default_value_t)]
    log_format: logs::Format,
}

/// The sources that tell everything, asked or not.
fn source(text: &str) -> Result<Spec, String> {
    match text.parse::<Spec>().map_err(|error| error.to_string())? {
        Spec::Kubernetes(cluster) => {
            Ok(Spec::Kubernetes(Cluster { everything: true, pods_and_nodes: true, ..cluster }))
        }
        // It would know a service only once somebody asks for it.
        Spec::Xds(_) => Err("a control plane can't follow another one: write file:PATH or \
                             kubernetes"
            .to_owned()),
        file @ Spec::File(_) => Ok(file),
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    logs::start(&args.log, args.log_format).map_err(Failure::other)?;
    let Args { sources, listen, admin, .. } = args;
    control_plane::run(&Options { sources, listen, admin }).map_err(Failure::other)
}
