//! A Kubernetes cluster as a source: its Services and their EndpointSlices.
//!
//! Watches the names of all services, by their metadata only, and the endpoints of those that
//! callers on this node ask for. Or everything, if the source says so; a control plane watches Pods and
//! Nodes, too.
//!
//! - [`cluster`]: which cluster, and how much of it; `client_config`: how its API server is reached
//! - `connection_pool`: connections that many watches share; `connection`: one of them;
//!   `reachability`: when it may connect; `first_answer`: how long a new one may stay without an answer;
//!   `request_queue`: which request goes next
//! - `watch`: a watch that never ends; `reflector`: the watches of one service, or of all;
//!   `object_cache`: their objects, and the services made of them; `staleness`: when these are stale
//! - `facts`: what endpoints take from Pods and Nodes; `pod_watch`: when the watch of Pods begins
//! - `read_up_to`: how far they have read
//! - `on_demand`: the names of all services, and which of them are followed
//! - `node`: which zone this agent is in; [`taint`]: removes a taint when the agent is ready
//! - `api_error`, `error_chain`: errors as text
//! - [`events`]: Events on Services with invalid settings; `event_queue`: when each is written
//! - `context`: what all of these share

use std::sync::Arc;

use tokio::sync::watch::Sender;

use self::{
    connection_pool::ConnectionPool,
    context::Context,
    reflector::{Scope, follow},
};
use super::Status;
use crate::{
    catalog::{Catalog, Locality, SourceId},
    source::{backoff::Backoff, current_problems::Problems},
};

mod api_error;
mod client_config;
pub mod cluster;
mod connection;
mod connection_pool;
mod context;
mod error_chain;
mod event_queue;
pub mod events;
mod facts;
mod first_answer;
mod node;
mod object_cache;
mod on_demand;
mod pod_watch;
mod reachability;
mod read_up_to;
mod reflector;
mod request_queue;
#[cfg(test)]
mod sample;
mod staleness;
pub mod taint;
mod watch;

pub use cluster::Cluster;

/// Keeps the catalog up to date with a cluster, forever.
pub(super) async fn run(
    cluster: Cluster,
    locality: Sender<Locality>,
    source: SourceId,
    catalog: Arc<Catalog>,
    status: Status,
) {
    let name: Arc<str> = cluster.to_string().into();
    let problems = Problems::new(status.clone(), name.clone());
    loop {
        let connections = connect(&cluster, |why| {
            catalog.excuse(source, Some(why.into()));
            problems.found(&name, why);
        })
        .await;
        problems.mended(&name);
        let shared = Arc::new(Context {
            source,
            name: name.clone(),
            server: connections.server().into(),
            catalog: catalog.clone(),
            connections,
            problems: problems.clone(),
        });
        let work = async {
            match cluster.everything {
                true => everything(&shared, cluster.pods_and_nodes).await,
                false => on_demand::run(&shared).await,
            }
        };
        tokio::select! {
            () = async { tokio::join!(work, node::locate(&locality, &shared)); } => {}
            // Reads the client configuration again too: a renewed certificate, another token.
            () = status.told_to_look() => {}
        }
    }
}

/// Reads how the cluster is reached; retries until it succeeds.
async fn connect(cluster: &Cluster, failed: impl Fn(&str)) -> ConnectionPool {
    let mut backoff = Backoff::default();
    loop {
        match client_config::config(cluster).await {
            Ok(config) => return ConnectionPool::new(config),
            Err(why) => failed(&why),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

async fn everything(shared: &Context, pods_and_nodes: bool) {
    let scope = Scope::All { pods_and_nodes };
    let slot = shared.slot(&scope.to_string().into()).await;
    follow(&scope, &slot, shared).await;
}
