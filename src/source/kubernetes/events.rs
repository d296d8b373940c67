//! Events on Services, for those who look with `kubectl describe`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::PostParams};
use serde_json::json;
use tracing::debug;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    access::{self, Resource},
    client::{self, Connections, Seat},
    cluster::Cluster,
    event_queue::{Queue, Said},
    problems::Problems,
};
use crate::{catalog::ServiceName, clock, source::Status};

/// Until an event counts as not written: the next is to go over another connection. What an API server
/// answers in takes milliseconds. Range 1 to 60 s.
const WRITE: Duration = Duration::from_secs(10);
/// Why they are written.
const REASON: &str = "WrongSetting";
const REPORTER: &str = "pointsman-agent";

/// Where to say what is wrong with a Service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Queue);

impl Events {
    /// What is written, and what has to run for it: [`write()`].
    #[must_use]
    pub fn new() -> (Self, Waiting) {
        let queue = Queue::default();
        (Self(queue.clone()), Waiting(queue))
    }

    /// Says it, unless too much is said.
    pub fn warn(&self, service: &ServiceName, message: &str) {
        self.0.put(service, message);
    }
}

/// What is still to be written.
#[derive(Debug)]
pub struct Waiting(Queue);

/// Writes them, for ever.
pub async fn write(cluster: Cluster, node: Option<Arc<str>>, waiting: Waiting) {
    let problems = Problems::new(Status::default(), cluster.to_string().into());
    let finder: Arc<str> = "events".into();
    // For as long as events wait: they are rare.
    let mut open = None;
    loop {
        let said = waiting.0.next().await;
        match create(&cluster, &mut open, node.as_deref(), &said).await {
            Ok(()) => problems.mended(&finder),
            Err(what) => problems.found(&finder, &what),
        }
        if waiting.0.is_empty() {
            open = None;
        }
    }
}

/// A way to the API server, on one connection.
struct Open {
    connections: Connections,
    seat: Seat,
}

impl Open {
    async fn new(cluster: &Cluster) -> Result<Self, String> {
        let connections = Connections::new(client::config(cluster).await?);
        let seat = connections.seat()?;
        Ok(Self { connections, seat })
    }
}

/// Over what is open, where something is.
async fn create(
    cluster: &Cluster,
    open: &mut Option<Open>,
    node: Option<&str>,
    said: &Said,
) -> Result<(), String> {
    let way = match open.take() {
        Some(way) => way,
        None => Open::new(cluster).await?,
    };
    let server = way.connections.server();
    let events = Api::<Event>::namespaced(way.seat.client.clone(), &said.service.namespace);
    let event = event(node, &said.service, &said.message, clock::wall())?;
    let params = PostParams::default();
    let Ok(written) = tokio::time::timeout(WRITE, events.create(&params, &event)).await else {
        let within = humantime::format_duration(WRITE);
        return Err(format!("no answer from {server} to \"create events\" within {within}"));
    };
    *open = Some(way);
    match written {
        Ok(_) => debug!(service = %said.service, "an event is written"),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            debug!(service = %said.service, "the event was there: another node's agent said it");
        }
        Err(error) => return Err(access::of_call(&error, "create", Resource::Events, &server).what),
    }
    Ok(())
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
