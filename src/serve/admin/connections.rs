//! Limits the connections of the admin address, and how long each may last.
//!
//! Any client that reaches the address may open connections without end. Beyond the limit, the client
//! with the most connections loses its oldest. So a client with many connections takes from itself, and
//! kubelet's probe, which is answered within milliseconds, gets through.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

/// Connections at a time: kubelet's two probes, a few scrapers, a person with a browser.
const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take for a request's head, and how long it may be idle. On one network a
/// head takes milliseconds, and a client can connect again.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last, however busy. A scrape takes well below a second.
const LIFE: Duration = Duration::from_secs(60);
/// How long the answer under way may take after that.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// Bytes of a request's head: the least that hyper allows. A scraper's head has some 500.
const MAX_HEAD: usize = 8 << 10;
/// The pause after `accept` fails, which it does when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the listener's connections. Never returns.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    let mut connections = AdminConnections::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => connections.admit(stream, from, routes.clone()),
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin address could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct AdminConnections {
    all: Vec<(IpAddr, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl AdminConnections {
    fn admit(&mut self, stream: TcpStream, from: SocketAddr, routes: Router) {
        while self.tasks.try_join_next().is_some() {}
        self.all.retain(|(_, task)| !task.is_finished());
        if self.all.len() >= MAX_CONNECTIONS {
            let addresses: Vec<_> = self.all.iter().map(|(address, _)| *address).collect();
            let (_, task) = self.all.remove(oldest_of_the_most(&addresses));
            task.abort();
        }
        let task = self.tasks.spawn(async move {
            if let Err(error) = answer(stream, routes).await {
                tracing::debug!(%from, error, "a connection to the admin address broke off");
            }
        });
        self.all.push((from.ip(), task));
    }
}

/// The index of the connection to close, among these, oldest first: the oldest one of the address with
/// the most.
fn oldest_of_the_most(addresses: &[IpAddr]) -> usize {
    let held = |address| addresses.iter().filter(|other| *other == address).count();
    let most = addresses.iter().map(held).max().unwrap_or_default();
    addresses.iter().position(|address| held(address) == most).unwrap_or_default()
}

async fn answer(stream: TcpStream, routes: Router) -> Result<(), axum::BoxError> {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
    let served = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    match timeout(LIFE, served.as_mut()).await {
        Ok(ended) => ended?,
        Err(_) => {
            served.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, served).await.map_err(io::Error::from)??;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_most_connections_loses_its_oldest() {
        let address = |n| IpAddr::from([10, 0, 0, n]);
        let gone = |held: &[u8]| {
            let addresses: Vec<_> = held.iter().copied().map(address).collect();
            oldest_of_the_most(&addresses)
        };
        assert_eq!(gone(&[1, 2, 2, 3]), 1);
        assert_eq!(gone(&[1, 2, 3, 3, 3, 2]), 2);
        assert_eq!(gone(&[3, 2, 1]), 0, "all have one: the oldest of all");
    }
}
