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

    fn problems(&self) -> impl Iterator<Item = String> {
        self.sources.iter().flat_map(|source| source.problems())
    }
}

/// It names the problems of the sources, too. With them the control plane serves on, so that it is no less
/// ready for them.
async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    let (status, mut text) = admin::readiness(&admin::unanswered(&pages.catalog, &pages.sources));
    if status == StatusCode::OK {
        pages.problems().for_each(|problem| text.push_str(&format!("{problem}\n")));
    }
    (status, text)
}

async fn scrape(State(pages): State<Pages>) -> ([(HeaderName, HeaderValue); 1], String) {
    let text = pages.metrics.scrape(&pages.snapshot, pages.problems().count());
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}
