//! Where services come from: files, a Kubernetes cluster, or a control plane.
//!
//! - [`spec`]: how a person names a source; [`status`]: whether it was read, and what is wrong
//! - [`problem`]: what is wrong in a text, where, and what would be right
//! - [`yaml`]: YAML that a person wrote; [`manifests`]: Kubernetes objects, whoever brings them
//! - [`mod@file`]: a services file, or a folder of such files and of Kubernetes manifests
//! - [`kubernetes`]: a cluster's API server; [`xds`]: a control plane
//! - `backoff`: how long to wait after a failure; `current_problems`: what a source has to complain of now;
//!   `interest_end`: how long it follows a service that nobody asks for

use std::sync::Arc;

use tokio::{runtime::Handle, sync::watch};

mod backoff;
mod current_problems;
pub mod file;
mod interest_end;
pub mod kubernetes;
pub mod manifests;
pub mod problem;
pub mod spec;
pub mod status;
pub mod xds;
pub mod yaml;

pub use kubernetes::Cluster;
pub use problem::{Place, Problem};
pub use spec::{Spec, SpecError, own_cluster};
pub use status::Status;

use crate::catalog::{Catalog, Locality, SourceId};

/// Starts these sources, each in a task of its own until `ending` is true. Their order is that of the
/// catalog.
pub fn start(
    specs: &[Spec],
    locality: &watch::Sender<Locality>,
    catalog: &Arc<Catalog>,
    ending: &watch::Receiver<bool>,
    runtime: &Handle,
) -> Vec<(Spec, Status)> {
    let start = |(index, spec): (usize, &Spec)| {
        let status = Status::default();
        let mut ending = ending.clone();
        let cancelled = async move {
            // An error means that the sender is gone, which ends the source as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        runtime.spawn(run(
            spec.clone(),
            locality.clone(),
            SourceId(index),
            catalog.clone(),
            status.clone(),
            cancelled,
        ));
        (spec.clone(), status)
    };
    specs.iter().enumerate().map(start).collect()
}

/// Keeps the catalog up to date with a source until `cancelled` completes. `locality` is where the
/// agent runs; a source that finds out the zone or region adds them. The source's first valid read is followed by
/// [`Change::Synced`](crate::catalog::Change::Synced). Its state is in `status`.
pub async fn run(
    spec: Spec,
    locality: watch::Sender<Locality>,
    source: SourceId,
    catalog: Arc<Catalog>,
    status: Status,
    cancelled: impl Future<Output = ()> + Send,
) {
    let work = async {
        match spec {
            Spec::File(path) => {
                file::run(path, source, catalog, status).await;
            }
            Spec::Kubernetes(cluster) => {
                kubernetes::run(cluster, locality, source, catalog, status).await;
            }
            Spec::Xds(server) => xds::run(server, locality, source, catalog, status).await,
        }
    };
    tokio::select! {
        () = work => {}
        () = cancelled => {}
    }
}
