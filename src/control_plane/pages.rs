//! The admin pages of a control plane.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::metrics::Metrics;
use crate::{
    catalog::Catalog,
    discovery::Snapshot,
    serve::admin::{self, OPEN_METRICS},
};

#[derive(Clone)]
pub(super) struct Pages {
    pub(super) catalog: Arc<Catalog>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) metrics: Arc<Metrics>,
    /// The sources with their status.
    pub(super) sources: Vec<Arc<dyn admin::Source>>,
}

impl Pages {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .with_state(self)
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    admin::readiness(&admin::unanswered(&pages.catalog, &pages.sources))
}

async fn scrape(State(pages): State<Pages>) -> ([(HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], pages.metrics.scrape(&pages.snapshot))
}
