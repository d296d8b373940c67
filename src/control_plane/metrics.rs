//! What a control plane counts.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use xds::resource_type::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::{
    discovery::{ClientKind, Snapshot, proto::NAMESPACE},
    log_limit::LogLimit,
};

type Labels = Vec<(&'static str, &'static str)>;

/// The types that have a label of their own. A client chooses the text of others.
const TYPES: [(&str, &str); 5] = [
    (NAMESPACE, "namespace"),
    (CLUSTER, "cluster"),
    (ASSIGNMENT, "assignment"),
    (LISTENER, "listener"),
    (ROUTES, "routes"),
];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) refused_connections: Counter,
    streams: Family<Labels, Gauge>,
    responses: Family<Labels, Counter>,
    rejections: Family<Labels, Counter>,
    /// Limits the lines about rejections. All of them are counted.
    pub(super) rejection_lines: LogLimit,
    /// Nanoseconds that composing responses took.
    composing: AtomicU64,
}

/// Counts a stream as open, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn label(type_url: &str) -> Labels {
    let known = TYPES.iter().find(|(url, _)| *url == type_url);
    vec![("type", known.map_or("other", |(_, label)| label))]
}

impl Metrics {
    pub(super) fn stream(&self, client: &'static str, variant: &'static str) -> OpenStream {
        let labels = vec![("client", client), ("variant", variant)];
        let open = self.streams.get_or_create(&labels).clone();
        open.inc();
        OpenStream(open)
    }

    pub(super) fn responded(&self, type_url: &str, took: Duration) {
        self.responses.get_or_create(&label(type_url)).inc();
        self.composing.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(super) fn rejected(&self, type_url: &str) {
        self.rejections.get_or_create(&label(type_url)).inc();
    }

    /// All metrics as OpenMetrics text. `source_problems`: the problems of all sources now.
    pub(super) fn scrape(&self, snapshot: &Snapshot, source_problems: usize) -> String {
        let mut registry = Registry::with_prefix("pointsman_control_plane");
        let Self { refused_connections, streams, responses, rejections, composing, .. } = self;
        registry.register(
            "refused_connections",
            "Connections refused because their client, or all clients together, have too many",
            refused_connections.clone(),
        );
        registry.register("streams", "Open streams", streams.clone());
        registry.register("responses", "Responses sent", responses.clone());
        registry.register(
            "rejections",
            "Responses that a client rejected; the log has its reason",
            rejections.clone(),
        );
        let seconds = Counter::<f64, AtomicU64>::default();
        seconds.inc_by(Duration::from_nanos(composing.load(Relaxed)).as_secs_f64());
        registry.register_with_unit(
            "composing",
            "Time that composing responses took",
            Unit::Seconds,
            seconds,
        );
        let (resources, bytes) =
            (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
        for kind in [ClientKind::Agent, ClientKind::Grpc, ClientKind::Envoy] {
            let published = snapshot.resources(kind);
            for (type_url, _) in TYPES {
                let mut labels = label(type_url);
                labels.push(("client", kind.text()));
                resources.get_or_create(&labels).set(published.len(type_url) as i64);
                bytes.get_or_create(&labels).set(published.bytes(type_url) as i64);
            }
        }
        let own_node = Gauge::<i64>::default();
        own_node.set(snapshot.for_own_node() as i64);
        registry.register(
            "own_node_services",
            "Services with internalTrafficPolicy Local, which are empty for gRPC and Envoy",
            own_node,
        );
        let problems = Gauge::<i64>::default();
        problems.set(source_problems as i64);
        registry.register(
            "source_problems",
            "What is wrong with sources now; the log and /readyz say what",
            problems,
        );
        registry.register("resources", "Published resources", resources);
        registry.register_with_unit(
            "resources",
            "Size of all published resources",
            Unit::Bytes,
            bytes,
        );
        let mut text = String::new();
        // Writing to a String can't fail.
        encode(&mut text, &registry).ok();
        text
    }
}
