//! Removes the taint that keeps pods off this node until its agent is ready.

use std::sync::Arc;

use crate::{
    catalog::Locality,
    config::TaintKey,
    source::{Cluster, Spec, kubernetes::taint, own_cluster},
};

/// A taint of the agent's own node, and the node's cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct StartupTaint {
    key: TaintKey,
    node: Arc<str>,
    cluster: Cluster,
}

impl StartupTaint {
    /// The node belongs to the [`own_cluster`].
    ///
    /// # Errors
    /// The option that is missing.
    pub fn new(key: TaintKey, sources: &[Spec], locality: &Locality) -> Result<Self, String> {
        match (own_cluster(sources).cloned(), locality.node.clone()) {
            (Some(cluster), Some(node)) => Ok(Self { key, node, cluster }),
            (None, _) => Err(format!(
                "--remove-taint {key} needs the cluster of the node: add --source kubernetes"
            )),
            (_, None) => {
                Err(format!("--remove-taint {key} needs the name of the node: add --node NAME"))
            }
        }
    }

    /// Removes the taint, and keeps it off as long as the agent runs.
    pub(super) async fn keep_off(self) {
        taint::keep_off(self.cluster, self.node, self.key.0).await;
    }
}
