//! Finds the zone and region of this agent in the labels of its node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, core::PartialObjectMeta};
use tokio::sync::watch;

use super::{
    api_error::{self, Resource},
    context::Context,
    facts::place::Place,
};
use crate::{catalog::Locality, source::backoff::Backoff};

/// Adds the zone and region if they are unknown. A node's zone never changes, so this asks once.
pub(super) async fn locate(locality: &watch::Sender<Locality>, shared: &Context) {
    let Locality { zone: None, node: Some(node), .. } = locality.borrow().clone() else { return };
    let finder: Arc<str> = format!("node {node}").into();
    let slot = shared.slot(&finder).await;
    let nodes = Api::<PartialObjectMeta<Node>>::all(slot.client.clone());
    let mut backoff = Backoff::default();
    loop {
        match nodes.get_opt(&node).await {
            Ok(Some(object)) => {
                shared.problems.mended(&finder);
                let place = Place::of(&object.metadata.labels.unwrap_or_default());
                locality.send_if_modified(|locality| {
                    let before = locality.clone();
                    locality.zone = before.zone.clone().or(place.zone);
                    locality.region = before.region.clone().or(place.region);
                    *locality != before
                });
                return;
            }
            Ok(None) => shared.problems.found(
                &finder,
                &format!(
                    "there is no node \"{node}\" in the cluster: set --node to the name that \
                     \"kubectl get nodes\" shows (spec.nodeName of the agent's pod), or set --zone"
                ),
            ),
            Err(error) => {
                let failure = api_error::of_call(&error, "get", Resource::Nodes, &shared.server);
                shared.problems.found(&finder, &failure.what);
            }
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}
