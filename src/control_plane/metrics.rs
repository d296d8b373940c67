//! What a control plane counts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    machine::Subscriptions,
    streams::{OpenStream, StreamFacts, Streams},
    type_label::{TYPES, type_label},
};
use crate::{
    discovery::{ClientKind, Snapshot},
    log_limit::LogLimit,
};

type Labels = Vec<(&'static str, &'static str)>;

const KINDS: [ClientKind; 3] = [ClientKind::Agent, ClientKind::Grpc, ClientKind::Envoy];

/// The bounds of the time to an answer, in seconds: a client next door answers within a millisecond; one that takes
/// a minute is stuck.
const ANSWER_SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0];

#[derive(Default)]
pub(super) struct Metrics {
    pub(super) refused_connections: Counter,
    pub(super) streams: Arc<Streams>,
    responses: Family<Labels, Counter>,
    response_bytes: Family<Labels, Counter>,
    answers: Answers,
    rejections: Family<Labels, Counter>,
    /// Limits the lines about rejections. All of them are counted.
    pub(super) rejection_lines: LogLimit,
    /// Nanoseconds that composing responses took.
    composing: AtomicU64,
}

/// The time from each response to the client's acceptance of it.
#[derive(Clone)]
struct Answers(Family<Labels, Histogram, fn() -> Histogram>);

impl Default for Answers {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(ANSWER_SECONDS)))
    }
}

fn label(type_url: &str) -> Labels {
    vec![("type", type_label(type_url).unwrap_or("other"))]
}

impl Metrics {
    /// A stream is open until what this returns is dropped.
    pub(super) fn stream(
        &self,
        facts: StreamFacts,
        machine: Arc<Mutex<dyn Subscriptions>>,
    ) -> OpenStream {
        self.streams.open(facts, machine)
    }

    pub(super) fn responded(&self, type_url: &str, bytes: u64, took: Duration) {
        let labels = label(type_url);
        self.responses.get_or_create(&labels).inc();
        self.response_bytes.get_or_create(&labels).inc_by(bytes);
        self.composing.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    /// `after`: the time since the response was sent.
    pub(super) fn accepted(&self, type_url: &str, after: Duration) {
        self.answers.0.get_or_create(&label(type_url)).observe(after.as_secs_f64());
    }

    pub(super) fn rejected(&self, type_url: &str) {
        self.rejections.get_or_create(&label(type_url)).inc();
    }

    /// All metrics as OpenMetrics text. `source_problems`: the problems of all sources now.
    pub(super) fn scrape(&self, snapshot: &Snapshot, source_problems: usize) -> String {
        let mut registry = Registry::with_prefix("pointsman_control_plane");
        let Self { refused_connections, responses, response_bytes, rejections, composing, .. } =
            self;
        registry.register(
            "refused_connections",
            "Connections refused because their client, or all clients together, have too many",
            refused_connections.clone(),
        );
        self.register_streams(&mut registry);
        registry.register("responses", "Responses sent", responses.clone());
        registry.register_with_unit(
            "responses",
            "Size of all responses sent",
            Unit::Bytes,
            response_bytes.clone(),
        );
        registry.register_with_unit(
            "ack",
            "Time from a response to the client's acceptance of it (ACK)",
            Unit::Seconds,
            self.answers.0.clone(),
        );
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
        for kind in KINDS {
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

    /// What is true of the open streams now.
    fn register_streams(&self, registry: &mut Registry) {
        let [open, held, unanswered] = [(); 3].map(|()| Family::<Labels, Gauge>::default());
        for (kind, variant) in KINDS.iter().flat_map(|kind| ["delta", "sotw"].map(|it| (kind, it)))
        {
            open.get_or_create(&vec![("client", kind.text()), ("variant", variant)]).set(0);
        }
        for stream in self.streams.all() {
            let facts = stream.facts;
            let labels = vec![("client", facts.client), ("variant", facts.variant)];
            open.get_or_create(&labels).inc();
            for (type_url, status) in stream.types {
                let mut labels = label(&type_url);
                labels.push(("client", facts.client));
                held.get_or_create(&labels).inc_by(status.held as i64);
                unanswered.get_or_create(&labels).inc_by(status.unanswered as i64);
            }
        }
        registry.register("streams", "Open streams", open);
        registry.register("held_resources", "Resources that all clients together have", held);
        registry.register(
            "unanswered_responses",
            "Responses that their client has neither accepted nor rejected so far",
            unanswered,
        );
    }
}
