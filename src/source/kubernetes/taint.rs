//! Removes a taint from the agent's own node. Nodes register with it, so that no pod that needs an
//! agent starts there before the agent is ready.

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
    client_config,
    cluster::Cluster,
    connection_pool::ConnectionPool,
};
use crate::{
    source::Status,
    source::{backoff::Backoff, current_problems::Problems},
};

/// How often to look again, with one request per node. A deleted node registers anew with its
/// taint, perhaps while the same agent runs. Range 1 to 60 min.
const AGAIN: Duration = Duration::from_secs(300);

/// Removes the taint with this key from the node, whenever it is there; forever.
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

/// Why the taint could not be removed.
enum Refused {
    /// Another client wrote the node meanwhile.
    Conflict,
    Because(String),
}

/// Removes the taint. Returns whether it was there. Uses a connection of its own.
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
    // The list is written as a whole. By the version the API server detects a change in between.
    let version = object.metadata.resource_version;
    let patch = json!({
        "metadata": { "resourceVersion": version },
        "spec": { "taints": others }
    });
    let written = nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await;
    written.map_err(failed("patch"))?;
    Ok(true)
}
