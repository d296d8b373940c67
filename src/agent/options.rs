//! The options of an agent.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::startup_taint::StartupTaint;
use crate::{
    catalog::Locality,
    policy::ConfigPolicies,
    serve::resolver::access::Access,
    socket::address::SocketAddress,
    source::{Cluster, Spec},
    state::configuration,
};

/// The options of an agent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sources of services; the first that knows a service owns it.
    pub sources: Vec<Spec>,
    pub socket: SocketAddress,
    pub socket_mode: u32,
    /// The socket's group; `None`: the agent's own.
    pub socket_group: Option<u32>,
    /// The address of the admin pages.
    pub admin: SocketAddr,
    /// This node's zone, region and name.
    pub locality: Locality,
    /// The taint to remove from this node when the agent is ready.
    pub startup_taint: Option<StartupTaint>,
    /// The folder for state that outlives the agent.
    pub state: Option<PathBuf>,
    /// Take the socket over from the agent that serves it.
    pub takeover: bool,
    /// After a take-over by another agent, stay until SIGTERM.
    pub stay: bool,
    /// The configured policies of services.
    pub policies: ConfigPolicies,
    pub log: String,
    /// The folder of the pods' folders; `None`: pods have none.
    pub pods: Option<PathBuf>,
    pub access: Access,
    /// Whether there are metrics of single endpoints.
    pub endpoint_metrics: bool,
    /// The cluster that gets Events for wrong settings of its Services, if any.
    pub events: Option<Cluster>,
    /// The configuration file, if there is one.
    pub file: File,
}

/// The configuration file that an agent was started with.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its text, if it is valid.
    pub text: Option<String>,
    /// Its problem, if an earlier one is in force.
    pub problem: Option<String>,
}

impl Options {
    /// Keeps the configuration for a later agent whose file is wrong.
    pub(super) fn keep_configuration(&self) {
        let (Some(folder), Some(text)) = (&self.state, &self.file.text) else { return };
        if let Err(error) = configuration::write(folder, text) {
            warn!("the configuration could not be saved for the next start: {error}");
        }
    }

    /// The options for the admin page.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let sources: Vec<_> = self.sources.iter().map(Spec::to_string).collect();
        let state = self.state.as_ref().map(|folder| folder.display().to_string());
        let pods = self.pods.as_ref().map(|folder| folder.display().to_string());
        vec![
            ("socket", format!("{}, mode {:04o}", self.socket, self.socket_mode)),
            ("sources", sources.join(", ")),
            ("state", state.unwrap_or_else(|| "not kept".to_owned())),
            (
                "pods",
                pods.unwrap_or_else(|| {
                    "no folders: the agent knows a caller by its uid".to_owned()
                }),
            ),
            (
                "access",
                match self.access.0.len() {
                    0 => "everyone, all namespaces".to_owned(),
                    entries => format!("{entries} entries"),
                },
            ),
            (
                "policies",
                format!(
                    "{} services, {} namespaces",
                    self.policies.base.services.len(),
                    self.policies.base.namespaces.len()
                ),
            ),
            ("process", std::process::id().to_string()),
        ]
    }
}

/// Access rules for uids only let no pod with its own folder ask.
pub(super) fn warn_of_access(pods: Option<&Path>, access: &Access) {
    if pods.is_some() && !access.knows_pods() {
        warn!(
            "no entry of access is for pods: a pod with a folder of its own may not ask for any \
             service"
        );
    }
}
