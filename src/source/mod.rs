//! Where services come from: files, or a Kubernetes cluster.
//!
//! - [`document`]: YAML that a person wrote, read with positions and near misses
//! - [`problem`]: what was wrong, where, and what would be right
//! - [`policy_block`]: the `policy:` block of a file; `shape`: what its schema says of texts
//! - [`endpoint_slice`], [`kube_service`]: what Kubernetes' objects say; [`join`]: services of them
//! - [`mod@file`]: a services file, or a folder of such files and Kubernetes manifests
//! - [`kubernetes`]: a cluster's API server

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use tokio::sync::{Notify, watch};

pub mod document;
pub mod endpoint_slice;
pub mod file;
pub mod join;
pub mod kube_service;
pub mod kubernetes;
pub mod policy_block;
pub mod problem;
pub(crate) mod shape;

pub use kubernetes::Cluster;
pub use problem::{Place, Problem};

use crate::{
    catalog::{Catalog, Locality, SourceId},
    suggest::{did_you_mean, similar},
};

/// A source as a person names it: `file:/etc/pointsman/services.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// A services file, or a folder of such files and Kubernetes manifests.
    File(PathBuf),
    /// A Kubernetes cluster.
    Kubernetes(Cluster),
}

/// The cluster that the agent is of, and in which it writes: that of the first source that is one.
pub fn own_cluster(sources: &[Spec]) -> Option<&Cluster> {
    sources.iter().find_map(|source| match source {
        Spec::Kubernetes(cluster) => Some(cluster),
        Spec::File(_) => None,
    })
}

/// Why a text names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{asked}\" is no source{hint}: write file:PATH, such as file:/etc/pointsman/services.yaml, or \
     kubernetes"
)]
pub struct SpecError {
    asked: String,
    hint: String,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |hint| SpecError { asked: text.to_owned(), hint };
        match text.split_once(':').unwrap_or((text, "")) {
            ("file", path) if !path.is_empty() => Ok(Self::File(path.into())),
            ("kubernetes", options) => match options.parse() {
                Ok(cluster) => Ok(Self::Kubernetes(cluster)),
                Err(what) => Err(wrong(format!(" ({what})"))),
            },
            (kind, _) => Err(wrong(did_you_mean(&similar(kind, ["file", "kubernetes"])))),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Kubernetes(cluster) => cluster.fmt(f),
        }
    }
}

/// How a running source fares; cheap to clone, one per source.
#[derive(Clone, Debug)]
pub struct Status {
    state: Arc<watch::Sender<State>>,
    again: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The first read, good or bad, is over.
    read: bool,
    /// A read was good at least once.
    synced: bool,
    problems: Vec<Problem>,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())), again: Arc::default() }
    }
}

impl Status {
    /// What is wrong now; what was last good stays in force until it is mended.
    pub fn problems(&self) -> Vec<Problem> {
        self.state.borrow().problems.clone()
    }

    /// A read was good at least once.
    pub fn synced(&self) -> bool {
        self.state.borrow().synced
    }

    /// Waits until the first read is over. Err: it was bad, and this is why; the source goes on
    /// trying.
    pub async fn first_read(&self) -> Result<(), Vec<Problem>> {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so that waiting can't fail.
        let state = match state.wait_for(|state| state.read).await {
            Ok(state) => state,
            Err(_) => return Ok(()),
        };
        if state.synced { Ok(()) } else { Err(state.problems.clone()) }
    }

    /// Has the source read again, though nothing told of a change.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Completes when the source is to read again.
    pub(crate) async fn told_to_look(&self) {
        self.again.notified().await;
    }

    /// A read is over: good enough to be served, and what was wrong in it.
    pub(crate) fn read(&self, good: bool, problems: Vec<Problem>) {
        self.state.send_modify(|state| {
            *state = State { read: true, synced: state.synced || good, problems };
        });
    }
}

/// Keeps the catalog true to a source until `cancelled` completes. `here` is where the agent runs (a
/// service may be meant for callers of an endpoint's node only); a source that knows of a zone or
/// region what is not known yet adds it. The source's first good read is followed by
/// [`Change::Synced`](crate::catalog::Change::Synced); how it fares shows in `status`.
pub async fn run(
    spec: Spec,
    here: watch::Sender<Locality>,
    source: SourceId,
    catalog: Arc<Catalog>,
    status: Status,
    cancelled: impl Future<Output = ()> + Send,
) {
    let work = async {
        match spec {
            Spec::File(path) => {
                let node = here.borrow().node.clone();
                file::run(path, node, source, catalog, status).await;
            }
            Spec::Kubernetes(cluster) => {
                kubernetes::run(cluster, here, source, catalog, status).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = cancelled => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cluster_is_that_of_the_first_source_that_is_one() {
        let specs = |texts: &[&str]| -> Vec<Spec> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let several = specs(&["file:a.yaml", "kubernetes:context=a", "kubernetes:context=b"]);
        assert_eq!(own_cluster(&several).unwrap().to_string(), "kubernetes:context=a");
        assert_eq!(own_cluster(&specs(&["file:a.yaml"])), None);
    }
}
