//! A Kubernetes cluster: its Services and their EndpointSlices, as the API server tells of them.
//!
//! The names of all services are watched, by their metadata only; endpoints of those that somebody
//! on this node asks for. Or everything is, where that is wanted.
//!
//! - [`cluster`]: which one is meant, and how much of it
//! - `client`: how its API server is reached; `access`: what it means when that says no
//! - `line`: a connection that many share; `reach`: when it may be made, `turns`: who asks next;
//!   `first_answer`: how long a new one may be without an answer
//! - `watch`: a watch that never ends; `backoff`: how long it waits after a failure
//! - `silence`: when what it said is stale
//! - `told`: what the watches told, and the services that come of it; `follow`: one service, or all
//! - `on_demand`: the names of all services, and who is followed
//! - `node`: which zone this agent is in; [`taint`]: what its node registered with until it is ready
//! - `problems`: what is wrong now; [`events`]: what is wrong with a Service, said at the Service;
//!   `event_queue`: which of that is written when

use std::sync::Arc;

use tokio::sync::watch::Sender;

use self::{
    backoff::Backoff,
    connection_pool::ConnectionPool,
    context::Context,
    problems::Problems,
    reflector::{Scope, follow},
};
use super::Status;
use crate::catalog::{Catalog, Locality, SourceId};

mod api_error;
mod backoff;
mod client_config;
pub mod cluster;
mod connection;
mod connection_pool;
mod context;
mod error_chain;
mod event_queue;
pub mod events;
mod first_answer;
mod node;
mod object_cache;
mod on_demand;
mod problems;
mod reachability;
mod reflector;
mod request_queue;
mod staleness;
pub mod taint;
mod watch;

pub use cluster::Cluster;

/// Keeps the catalog true to a cluster, for ever.
pub(super) async fn run(
    cluster: Cluster,
    here: Sender<Locality>,
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
            node: here.borrow().node.clone(),
            catalog: catalog.clone(),
            connections,
            problems: problems.clone(),
        });
        let work = async {
            match cluster.everything {
                true => everything(&shared).await,
                false => on_demand::run(&shared).await,
            }
        };
        tokio::select! {
            () = async { tokio::join!(work, node::locate(&here, &shared)); } => {}
            // How the cluster is reached is read again, too: a renewed certificate, another token.
            () = status.told_to_look() => {}
        }
    }
}

/// How the cluster is reached; waits for as long as nothing says that.
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

async fn everything(shared: &Context) {
    let slot = shared.slot(&Scope::All.to_string().into()).await;
    follow(&Scope::All, &slot, shared).await;
}
