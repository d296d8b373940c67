//! The admin pages of a control plane.

use std::sync::Arc;

use axum::{
    Router,
    extract::{RawQuery, State},
    response::Html,
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::{clients_page::Page, metrics::Metrics};
use crate::{
    catalog::Catalog,
    clock,
    discovery::Snapshot,
    serve::admin::{
        self, OPEN_METRICS,
        html::{HEAD, escape, table},
    },
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
    /// `?node=ID`: only the clients of this id.
    fn clients(&self, RawQuery(query): &RawQuery) -> Page {
        let query = query.as_deref().unwrap_or_default();
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let node = parameters.find(|(name, _)| name == "node").map(|(_, node)| node);
        Page::new(self.metrics.streams.all(), node.as_deref(), clock::now())
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/", get(front))
            .route("/clients", get(clients))
            .route("/clients.json", get(clients_json))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .with_state(self)
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        self.sources.iter().flat_map(|source| source.problems())
    }
}

async fn front(State(pages): State<Pages>) -> Html<String> {
    let missing = admin::unanswered(&pages.catalog, &pages.sources);
    let readiness = match &*missing {
        [] => "<b>ready</b>".to_owned(),
        missing => format!("<b class=bad>not ready</b>: {}", escape(&missing.join("; "))),
    };
    let sources = pages.sources.iter().map(|source| {
        let problems = source.problems().join("; ");
        [source.name(), if problems.is_empty() { "no problem".to_owned() } else { problems }]
    });
    let version = env!("CARGO_PKG_VERSION");
    Html(format!(
        "{HEAD}<h1>pointsman control-plane {version}</h1>\n<p>{readiness}</p>\n<p>{} services. \
         <a href=/clients>/clients</a> <a href=/livez>/livez</a> <a href=/readyz>/readyz</a> \
         <a href=/metrics>/metrics</a></p>\n{}",
        pages.catalog.list(None).len(),
        table("Sources", ["source", ""], sources),
    ))
}

async fn clients(State(pages): State<Pages>, query: RawQuery) -> Html<String> {
    Html(pages.clients(&query).html())
}

async fn clients_json(
    State(pages): State<Pages>,
    query: RawQuery,
) -> ([(HeaderName, HeaderValue); 1], String) {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], pages.clients(&query).json().to_string())
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
