//! The pages for Kubernetes, Prometheus and people, on an address of their own.
//!
//! They run on a thread and a runtime of their own: neither a slow scraper nor a large answer can
//! hold a pick up, and they still answer when the rest is busy. `guests`: who may be connected, and
//! for how long.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use axum::{Router, extract::State, response::Html, routing::get};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::sync::watch;

use super::{
    Agent,
    metrics::{self, Series},
    priority::give_way,
};
use crate::{
    publish::Tables,
    source::{Spec, Status},
};

mod guests;
mod page;

/// What OpenMetrics text is called; Prometheus reads it as it is.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the pages tell of.
#[derive(Clone)]
pub struct Told {
    /// The calls and what they know.
    pub agent: Arc<Agent>,
    /// The publishing.
    pub tables: Tables,
    /// The sources and how they fare.
    pub sources: Vec<(Spec, Status)>,
    /// Whether the socket takes calls.
    pub listening: watch::Receiver<bool>,
    /// What the agent was told, for a person: each setting and its value.
    pub settings: Vec<(&'static str, String)>,
    /// What is scraped.
    pub series: Series,
}

/// The thread that serves the pages; ends when `ending` says so.
///
/// # Errors
/// When the thread or its runtime can't be started.
pub fn spawn(
    listener: TcpListener,
    told: Told,
    ending: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        give_way("the admin pages");
        let served = runtime.block_on(serve(listener, told, ending));
        if let Err(error) = served {
            tracing::error!(%error, "the admin pages ended");
        }
    })
}

/// Takes the address.
///
/// # Errors
/// When it is taken or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

async fn serve(
    listener: TcpListener,
    told: Told,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/", get(front))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(told);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        () = guests::serve(listener, routes) => {}
        // The pages have nothing to finish: whoever asks meanwhile asks again.
        _ = ending.wait_for(|&ending| ending) => {}
    }
    Ok(())
}

/// The process answers, which is all that a restart could mend.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(told): State<Told>) -> (StatusCode, String) {
    let missing = missing(&told);
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => {
            let lines: String = missing.iter().map(|each| format!("{each}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    }
}

/// What an agent that is not ready waits for.
fn missing(told: &Told) -> Vec<String> {
    let unsynced = told.agent.names().catalog().unsynced();
    let sources = unsynced.iter().map(|source| {
        let of = |(spec, _): &&(Spec, Status)| spec.to_string() == **source;
        let problems = told.sources.iter().find(of).map(|(_, status)| status.problems());
        let problems: Vec<_> =
            problems.unwrap_or_default().iter().map(ToString::to_string).collect();
        match problems.is_empty() {
            true => format!("no answer so far from {source}"),
            false => format!("no answer so far from {source}: {}", problems.join("; ")),
        }
    });
    let socket = (!*told.listening.borrow()).then(|| "the socket does not take calls".to_owned());
    sources.chain(socket).collect()
}

async fn scrape(State(told): State<Told>) -> ([(http::HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics::scrape(&told.agent, &told.tables, told.series))
}

async fn front(State(told): State<Told>) -> Html<String> {
    Html(page::page(&told, &missing(&told)))
}
