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
    access::Resource,
    backoff::Backoff,
    client::Connections,
    follow::{Scope, follow},
    problems::Problems,
    turns::Urgency,
    watch::{Pace, Subject},
};
use super::Status;
use crate::{
    catalog::{Catalog, Change, Locality, SourceId},
    clock,
};

mod access;
mod backoff;
mod client;
pub mod cluster;
mod event_queue;
pub mod events;
mod first_answer;
mod follow;
mod line;
mod node;
mod on_demand;
mod problems;
mod reach;
mod silence;
pub mod taint;
mod told;
mod turns;
mod watch;

pub use cluster::Cluster;

/// What all parts of a running source use.
struct Shared {
    source: SourceId,
    /// What a person calls it.
    name: Arc<str>,
    /// Where the API server is.
    server: Arc<str>,
    node: Option<Arc<str>>,
    catalog: Arc<Catalog>,
    connections: Connections,
    problems: Problems,
}

impl Shared {
    fn subject(&self, resource: Resource, of: impl std::fmt::Display) -> Subject {
        let finder = format!("{resource:?} of {of}").into();
        Subject { resource, finder, server: self.server.clone() }
    }

    /// For the watch of all there is: everybody waits for it.
    fn pace_of_all(&self) -> Pace {
        Pace {
            reach: self.connections.reach().clone(),
            turns: self.connections.turns().clone(),
            list: Arc::new(|| Urgency::Waiting),
            begin: Urgency::Waiting,
        }
    }

    /// All that is known at the start is said.
    fn synced(&self) {
        self.catalog.apply(self.source, Change::Synced, clock::now());
        self.problems.synced();
    }
}

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
        let shared = Arc::new(Shared {
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
async fn connect(cluster: &Cluster, failed: impl Fn(&str)) -> Connections {
    let mut backoff = Backoff::default();
    loop {
        match client::config(cluster).await {
            Ok(config) => return Connections::new(config),
            Err(why) => failed(&why),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

async fn everything(shared: &Shared) {
    let seat = shared.seat(&Scope::All.to_string().into()).await;
    follow(&Scope::All, &seat, shared).await;
}

impl Shared {
    /// A place on a connection; waits for as long as there can be none.
    async fn seat(&self, finder: &Arc<str>) -> client::Seat {
        let mut backoff = Backoff::default();
        loop {
            match self.connections.seat() {
                Ok(seat) => {
                    self.problems.mended(finder);
                    return seat;
                }
                Err(what) => self.problems.found(finder, &what),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }
}
