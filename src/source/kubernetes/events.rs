//! Events on Services, for those who look with `kubectl describe`.

use std::{sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    access::{self, Resource},
    client::{self, Connections},
    cluster::Cluster,
    problems::Problems,
};
use crate::{catalog::ServiceName, clock, source::Status};

/// What may wait to be written; more is dropped, as the log has it too.
const WAITING: usize = 64;
/// Why they are written.
const REASON: &str = "WrongSetting";
const REPORTER: &str = "pointsman-agent";

/// Where to say what is wrong with a Service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Sender<(ServiceName, String)>);

impl Events {
    /// What is written, and what has to run for it: [`write()`].
    #[must_use]
    pub fn new() -> (Self, Waiting) {
        let (sender, receiver) = channel(WAITING);
        (Self(sender), Waiting(receiver))
    }

    /// Says it, unless too many wait.
    pub fn warn(&self, service: &ServiceName, message: &str) {
        // Full, or the agent ends.
        self.0.try_send((service.clone(), message.to_owned())).ok();
    }
}

/// What is still to be written.
#[derive(Debug)]
pub struct Waiting(Receiver<(ServiceName, String)>);

/// Writes them, for ever.
pub async fn write(cluster: Cluster, node: Option<Arc<str>>, mut waiting: Waiting) {
    let problems = Problems::new(Status::default(), cluster.to_string().into());
    let finder: Arc<str> = "events".into();
    while let Some((service, message)) = waiting.0.recv().await {
        match create(&cluster, node.as_deref(), &service, &message).await {
            Ok(()) => problems.mended(&finder),
            Err(what) => problems.found(&finder, &what),
        }
    }
}

/// The connection is for this once: they are rare.
async fn create(
    cluster: &Cluster,
    node: Option<&str>,
    service: &ServiceName,
    message: &str,
) -> Result<(), String> {
    let config = client::config(cluster).await?;
    let connections = Connections::new(config);
    let seat = connections.seat()?;
    let events = Api::<Event>::namespaced(seat.client.clone(), &service.namespace);
    let event = event(node, service, message, clock::wall())?;
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        // The agent of another node said it.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => {
            let server = connections.server();
            Err(access::of_call(&error, "create", Resource::Events, &server).what)
        }
    }
}

/// Its name is that of what it says: of the agents of all nodes the first writes it, for an hour, as
/// long as a cluster keeps events.
fn event(
    node: Option<&str>,
    service: &ServiceName,
    message: &str,
    now: SystemTime,
) -> Result<Event, String> {
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let name = format!("{}.{:016x}", service.name, xxh3_64(message.as_bytes()));
    let event = json!({
        "metadata": { "name": name, "namespace": service.namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service",
            "name": service.name, "namespace": service.namespace
        },
        "reason": REASON,
        "message": message,
        "type": "Warning",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": { "component": REPORTER, "host": node },
        "reportingComponent": REPORTER,
        "reportingInstance": node.unwrap_or_default(),
    });
    serde_json::from_value(event).map_err(|error| format!("no event: {error}"))
}
