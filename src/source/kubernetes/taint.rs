//! A taint with which nodes register, so that nothing is put there that would ask an agent before one
//! is ready: the agent takes it from its own node.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::info;

use super::{
    api_error::{self, Resource},
    backoff::Backoff,
    client_config,
    cluster::Cluster,
    connection_pool::ConnectionPool,
    problems::Problems,
};
use crate::source::Status;

/// A node that was deleted registers anew with its taint, maybe beside the same agent: looked at
/// again so often, one question for each node. Range 1 to 60 min.
const AGAIN: Duration = Duration::from_secs(300);

/// Takes the taint of this key from the node, now and whenever it is there again; for ever.
pub async fn keep_off(cluster: Cluster, node: Arc<str>, key: Arc<str>) {
    let problems = Problems::new(Status::default(), cluster.to_string().into());
    let finder: Arc<str> = format!("taint of {node}").into();
    let mut backoff = Backoff::default();
    loop {
        let wait = match take_off(&cluster, &node, &key).await {
            Ok(there) => {
                backoff.succeeded();
                problems.mended(&finder);
                if there {
                    info!(%node, %key, "the taint is removed");
                }
                AGAIN
            }
            Err(Refused::Conflict) => backoff.failed(),
            Err(Refused::Because(what)) => {
                problems.found(&finder, &what);
                backoff.failed()
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Why it is still there.
enum Refused {
    /// Somebody else wrote the node meanwhile.
    Conflict,
    Because(String),
}

/// Whether it was there. The connection is for this once.
async fn take_off(cluster: &Cluster, node: &str, key: &str) -> Result<bool, Refused> {
    let config = client_config::config(cluster).await.map_err(Refused::Because)?;
    let connections = ConnectionPool::new(config);
    let slot = connections.slot().map_err(Refused::Because)?;
    let nodes = Api::<Node>::all(slot.client.clone());
    let failed = |verb: &'static str| {
        let server = connections.server();
        move |error| match error {
            kube::Error::Api(status) if status.code == 409 => Refused::Conflict,
            error => {
                Refused::Because(api_error::of_call(&error, verb, Resource::Taints, &server).what)
            }
        }
    };
    let object = nodes.get(node).await.map_err(failed("get"))?;
    let taints = object.spec.and_then(|spec| spec.taints).unwrap_or_default();
    if taints.iter().all(|taint| taint.key != key) {
        return Ok(false);
    }
    let others: Vec<_> = taints.into_iter().filter(|taint| taint.key != key).collect();
    // A list is written whole: by its version the API server knows whether it still is what was read.
    let version = object.metadata.resource_version;
    let patch = json!({
        "metadata": { "resourceVersion": version },
        "spec": { "taints": others }
    });
    let written = nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await;
    written.map_err(failed("patch"))?;
    Ok(true)
}
