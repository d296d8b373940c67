//! What this node registered with so that it gets no pods before its agent is ready.

use std::sync::Arc;

use crate::{
    catalog::Locality,
    config::TaintKey,
    source::{Cluster, Spec, kubernetes::taint, own_cluster},
};

/// A taint of the agent's own node, and the cluster of which that is a node.
#[derive(Clone, Debug, PartialEq)]
pub struct StartupTaint {
    key: TaintKey,
    node: Arc<str>,
    cluster: Cluster,
}

impl StartupTaint {
    /// The node is one of the [`own_cluster`].
    ///
    /// # Errors
    /// What is missing, and how to say it.
    pub fn new(key: TaintKey, sources: &[Spec], here: &Locality) -> Result<Self, String> {
        match (own_cluster(sources).cloned(), here.node.clone()) {
            (Some(cluster), Some(node)) => Ok(Self { key, node, cluster }),
            (None, _) => {
                Err(format!("--remove-taint {key}: add --source kubernetes, whose node it is"))
            }
            (_, None) => Err(format!("--remove-taint {key}: say which node's with --node")),
        }
    }

    /// The agent is ready: for as long as it runs, it is not there.
    pub(super) async fn keep_off(self) {
        taint::keep_off(self.cluster, self.node, self.key.0).await;
    }
}
