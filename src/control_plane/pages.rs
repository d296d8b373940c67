//! The admin pages of a control plane.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::metrics::Metrics;
use crate::{
    catalog::Catalog,
    discovery::Snapshot,
    serve::admin::OPEN_METRICS,
    source::{Spec, Status},
};

#[derive(Clone)]
pub(super) struct Pages {
    pub(super) catalog: Arc<Catalog>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) metrics: Arc<Metrics>,
    /// The sources with their status.
    pub(super) sources: Vec<(Spec, Status)>,
}

impl Pages {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .with_state(self)
    }

    /// What the control plane waits for before it serves, a line each.
    fn missing(&self) -> String {
        let line = |name: Arc<str>| {
            let source = self.sources.iter().find(|(spec, _)| spec.to_string() == *name);
            let problems = source.map(|(_, status)| status.problems()).unwrap_or_default();
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            match problems.is_empty() {
                true => format!("no answer so far from {name}\n"),
                false => format!("no answer so far from {name}: {}\n", problems.join("; ")),
            }
        };
        self.catalog.unsynced().into_iter().map(line).collect()
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    let missing = pages.missing();
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

async fn scrape(State(pages): State<Pages>) -> ([(HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], pages.metrics.scrape(&pages.snapshot))
}
