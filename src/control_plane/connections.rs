//! Accepts clients, within bounds.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use mend_authority::Mended;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{
    listen::{Acceptor, Peer, Stream},
    metrics::Metrics,
    service::{Discovery, OfPeer},
};
use crate::{
    catalog::Catalog,
    discovery::Snapshot,
    quota::{Permit, Quota},
};

/// Connections at a time. A fleet of 1,000 nodes has a few for each; at 50 KiB each they take 200 MiB.
const MAX_CONNECTIONS: usize = 4096;
/// Streams of one connection: gRPC and Envoy use one or two.
const MAX_STREAMS: u32 = 4;
/// Bytes of a connection's requests that may wait to be read.
const WINDOW: u32 = 64 << 10;
/// Bytes of a request's head: a client's has some 300.
const MAX_HEAD: u32 = 16 << 10;
/// A client that answers no ping for this long is gone. A node that lost its power says nothing.
const PING: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);
/// A client that sends no request for this long after it connected is no client: gRPC and Envoy connect to
/// send one.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// The pause after `accept` fails, which it does when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    discovery: Discovery,
    catalog: Arc<Catalog>,
    quota: Arc<Quota<Peer>>,
    metrics: Arc<Metrics>,
}

impl Connections {
    pub(super) fn new(
        catalog: Arc<Catalog>,
        snapshot: Arc<Snapshot>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let quota = Quota::new("connections", MAX_CONNECTIONS);
        Self { discovery: Discovery::new(snapshot, metrics.clone()), catalog, quota, metrics }
    }

    /// Accepts for ever.
    pub(super) async fn accept(&self, acceptor: Acceptor) {
        self.synced().await;
        loop {
            match acceptor.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until every source has answered. A client would take what is missing for gone; while it
    /// waits for a connection, it keeps what it has.
    async fn synced(&self) {
        let mut changes = self.catalog.changes();
        while !self.catalog.synced() {
            // The sender lives in the catalog, so that this can't fail.
            changes.changed().await.ok();
        }
    }

    fn admit(&self, stream: Box<dyn Stream>, peer: Peer) {
        match self.quota.take(peer) {
            Ok(permit) => {
                tokio::spawn(serve(stream, permit, self.discovery.of(peer), peer));
            }
            Err(exhausted) => {
                self.metrics.refused_connections.inc();
                debug!(?peer, %exhausted, "a connection is refused");
            }
        }
    }
}

async fn serve(stream: Box<dyn Stream>, _permit: Permit<Peer>, streams: OfPeer, peer: Peer) {
    // gRPC of some languages sends a path as the authority of a Unix socket, which h2 refuses.
    let io = TokioIo::new(Mended::new(stream));
    let begun = streams.begun();
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING_TIME)
        .serve_connection(io, TowerToHyperService::new(streams));
    let mut served = pin!(served);
    let served = tokio::select! {
        served = served.as_mut() => served,
        () = sleep(FIRST_REQUEST) => {
            if !begun.load(Relaxed) {
                return debug!(?peer, "a connection without a request is closed");
            }
            served.await
        }
    };
    if let Err(error) = served {
        debug!(?peer, %error, "a connection broke off");
    }
}
