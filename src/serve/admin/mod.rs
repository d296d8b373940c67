//! The pages for Kubernetes, Prometheus and people, on an address of their own.
//!
//! They run on a thread and a runtime of their own: neither a slow scraper nor a large answer can
//! hold a pick up, and they still answer when the rest is busy. `connections`: who may be connected, and
//! for how long.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use axum::{Router, extract::State, response::Html, routing::get};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::sync::watch;

use super::{metrics, priority::lower_priority};

mod connections;
mod page;
mod state;

pub use state::{AdminState, Source};

/// What OpenMetrics text is called; Prometheus reads it as it is.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The thread that serves the pages; ends when `ending` says so.
///
/// # Errors
/// When the thread or its runtime can't be started.
pub fn spawn(
    listener: TcpListener,
    state: AdminState,
    ending: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        lower_priority("the admin pages");
        let served = runtime.block_on(serve(listener, state, ending));
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
    state: AdminState,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/", get(front))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(state);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        () = connections::serve(listener, routes) => {}
        // The pages have nothing to finish: whoever asks meanwhile asks again.
        _ = ending.wait_for(|&ending| ending) => {}
    }
    Ok(())
}

/// The process answers, which is all that a restart could mend.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    let missing = state.missing();
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => {
            let lines: String = missing.iter().map(|each| format!("{each}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    }
}

async fn scrape(State(state): State<AdminState>) -> ([(http::HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics::scrape(&state.agent, &state.tables, state.series))
}

async fn front(State(state): State<AdminState>) -> Html<String> {
    Html(page::page(&state, &state.missing()))
}
