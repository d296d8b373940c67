//! `pointsman csi`: the kubelet's plugin that mounts a folder with its own socket into each pod.

use std::path::PathBuf;

use super::exit::Failure;
use crate::{
    agent::logs,
    csi::{self, Options},
    serve::pods::folder,
};

/// Run the CSI plugin, which gives each pod a folder with a socket of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The folder in which to make a folder for each pod. The agent's --pods must be the same.
    #[arg(long, value_name = "DIR", default_value = folder::DEFAULT)]
    pods: PathBuf,
    /// The kubelet's folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet: PathBuf,
    /// This node's name.
    #[arg(long, env = "POINTSMAN_NODE")]
    node: String,
    /// The log filter, such as debug.
    #[arg(long, value_name = "FILTER", default_value = super::agent::DEFAULT_LOG)]
    log: String,
    /// The format of the log.
    #[arg(long, value_enum, default_value_t)]
    log_format: logs::Format,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    logs::start(&args.log, args.log_format).map_err(Failure::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let options = Options { pods: args.pods, kubelet: args.kubelet, node: args.node };
    runtime.map_err(Failure::other)?.block_on(csi::run(options)).map_err(Failure::other)
}
