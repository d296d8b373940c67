//! The pages for Kubernetes, Prometheus and people, on an address of their own.
//!
//! They have their own thread and runtime. So neither a slow scraper nor a large answer delays a pick,
//! and the pages answer while the other threads are busy. `connections` limits their connections,
//! `state` has what they show, and `page` writes the page for people, of what is in [`html`].

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use axum::{Router, extract::State, response::Html, routing::get};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::sync::watch;

use super::{metrics, priority::lower_priority};
use crate::socket::closing::once_closed;

mod connections;
pub mod html;
mod page;
mod state;

pub use state::{AdminState, Source, unanswered};

/// The content type of OpenMetrics text, which Prometheus reads.
pub const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Starts the thread that serves these pages until `ending` is true.
///
/// # Errors
/// When the thread or its runtime can't be started.
pub fn spawn(
    listener: TcpListener,
    pages: Router,
    ending: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        lower_priority("the admin pages");
        let served = runtime.block_on(serve(listener, pages, ending));
        if let Err(error) = served {
            tracing::error!(%error, "the admin pages ended");
        }
    })
}

/// # Errors
/// The address is in use, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Binds the address for a process that has its socket already. The one before it may have been killed a
/// moment ago, so this waits while the address is in use, one second at most.
///
/// # Errors
/// As [`bind`].
pub fn bind_as_successor(address: SocketAddr) -> io::Result<TcpListener> {
    once_closed(|| bind(address), |error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The agent's pages.
pub fn pages(state: AdminState) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(state)
}

async fn serve(
    listener: TcpListener,
    pages: Router,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        () = connections::serve(listener, pages) => {}
        // A page that is cut off can be asked for again.
        _ = ending.wait_for(|&ending| ending) => {}
    }
    Ok(())
}

/// Always ok: that the process answers is all that a restart could mend.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    readiness(&state.missing())
}

/// The answer of a readiness probe: ok if nothing is missing.
pub fn readiness(missing: &[String]) -> (StatusCode, String) {
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => {
            let lines: String = missing.iter().map(|each| format!("{each}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    }
}

async fn scrape(State(state): State<AdminState>) -> ([(http::HeaderName, HeaderValue); 1], String) {
    let problems = state.sources.iter().map(|source| source.problems().len()).sum();
    (
        [(CONTENT_TYPE, OPEN_METRICS)],
        metrics::scrape(&state.agent, &state.tables, state.series, problems),
    )
}

async fn front(State(state): State<AdminState>) -> Html<String> {
    Html(page::page(&state, &state.missing()))
}
