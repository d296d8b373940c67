//! Writes Events on Services, for users of `kubectl describe`.

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
    api_error::{self, Resource},
    client_config,
    cluster::Cluster,
    connection_pool::{ConnectionPool, StreamSlot},
    event_queue::{PendingEvent, Queue},
};
use crate::source::current_problems::Problems;
use crate::{catalog::Service, clock, source::Status};

/// The timeout of a write; the next event then uses another connection. An API server usually
/// answers within milliseconds. Range 1 to 60 s.
const WRITE: Duration = Duration::from_secs(10);
const REASON: &str = "WrongSetting";
const REPORTER: &str = "pointsman-agent";

/// Takes warnings on Services; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    /// The source name of this cluster's services.
    source: Arc<str>,
    queue: Queue,
}

impl Events {
    /// The handle, and the events for [`write()`].
    #[must_use]
    pub fn new(cluster: &Cluster) -> (Self, PendingEvents) {
        let queue = Queue::default();
        (Self { source: cluster.to_string().into(), queue: queue.clone() }, PendingEvents(queue))
    }

    /// Queues a warning, within the budget. A service of another source has no Service object to
    /// put it on.
    pub fn warn(&self, service: &Service, message: &str) {
        if service.source == self.source {
            self.queue.put(&service.name, service.uid.clone(), message);
        }
    }
}

/// The events that wait to be written.
#[derive(Debug)]
pub struct PendingEvents(Queue);

/// Writes the events, forever.
pub async fn write(cluster: Cluster, node: Option<Arc<str>>, waiting: PendingEvents) {
    let problems = Problems::new(Status::default(), cluster.to_string().into());
    let finder: Arc<str> = "events".into();
    // Open only while events wait, since they are rare.
    let mut open = None;
    loop {
        let pending = waiting.0.next().await;
        match create(&cluster, &mut open, node.as_deref(), &pending).await {
            Ok(()) => problems.mended(&finder),
            Err(what) => problems.found(&finder, &what),
        }
        if waiting.0.is_empty() {
            open = None;
        }
    }
}

/// A connection to the API server.
struct Session {
    connections: ConnectionPool,
    slot: StreamSlot,
}

impl Session {
    async fn new(cluster: &Cluster) -> Result<Self, String> {
        let connections = ConnectionPool::new(client_config::config(cluster).await?);
        let slot = connections.slot()?;
        Ok(Self { connections, slot })
    }
}

/// Writes an event, over the open connection if there is one.
async fn create(
    cluster: &Cluster,
    open: &mut Option<Session>,
    node: Option<&str>,
    pending: &PendingEvent,
) -> Result<(), String> {
    let session = match open.take() {
        Some(session) => session,
        None => Session::new(cluster).await?,
    };
    let server = session.connections.server();
    let events = Api::<Event>::namespaced(session.slot.client.clone(), &pending.service.namespace);
    let event = event(node, pending, clock::wall())?;
    let params = PostParams::default();
    let Ok(written) = tokio::time::timeout(WRITE, events.create(&params, &event)).await else {
        let within = humantime::format_duration(WRITE);
        return Err(format!("no answer from {server} to \"create events\" within {within}"));
    };
    *open = Some(session);
    match written {
        Ok(_) => debug!(service = %pending.service, "wrote an event"),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            debug!(service = %pending.service, "another node's agent wrote the event already");
        }
        Err(error) => {
            return Err(api_error::of_call(&error, "create", Resource::Events, &server).what);
        }
    }
    Ok(())
}

/// The event's name is a hash of its content. So of all agents only the first writes it, for an
/// hour, as long as a cluster keeps events.
fn event(node: Option<&str>, pending: &PendingEvent, now: SystemTime) -> Result<Event, String> {
    let PendingEvent { service, uid, message, .. } = pending;
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let of = format!("{} {message}", uid.as_deref().unwrap_or_default());
    let name = format!("{}.{:016x}", service.name, xxh3_64(of.as_bytes()));
    let event = json!({
        "metadata": { "name": name, "namespace": service.namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service",
            "name": service.name, "namespace": service.namespace, "uid": uid
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file may have a service with the name of a Service whose settings are all valid.
    #[tokio::test(start_paused = true)]
    async fn only_what_the_cluster_says_of_its_services_is_told_of_them() {
        let cluster: Cluster = Cluster::default();
        let (events, waiting) = Events::new(&cluster);
        let of = |source: String| Service::new("cart.shop".parse().unwrap(), source, Vec::new());
        events.warn(&of("file:services.yaml".into()), "mode is \"offf\"");
        assert!(waiting.0.is_empty());
        events.warn(&of(cluster.to_string()), "mode is \"offf\"");
        assert!(!waiting.0.is_empty());
    }
}
