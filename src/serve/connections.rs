//! Accepts connections and serves each until it ends, or until the agent does.

use std::{sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use mend_authority::Mended;
use tokio::net::{UnixListener, UnixStream};

use super::{Caller, delivery::Wire, front::Front, metrics::Connected};
use crate::publish::leases::{Identity, Leases};

/// How long requests may take to finish once the agent is told to end. A pick waits for a source
/// for 5 s at most; Kubernetes kills after 30 s.
pub const GRACE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the socket until `ending` is done; then lets requests finish, for [`GRACE`] at most.
pub async fn serve(listener: UnixListener, front: Front, ending: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut ending = std::pin::pin!(ending);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        match accepted {
            Ok((stream, _)) => accept(stream, &front, &connections),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever connects from here on is refused, and may come back to the next agent.
    drop(listener);
    front.agent().ending().begin();
    let open = connections.count();
    if tokio::time::timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!(connections = open, "requests took too long to finish; ending anyway");
    }
}

fn accept(stream: UnixStream, front: &Front, connections: &GracefulShutdown) {
    let identity = match stream.peer_cred() {
        Ok(peer) => Identity::Uid(peer.uid()),
        Err(error) => {
            tracing::warn!(%error, "a caller's identity is unknown; hanging up");
            return;
        }
    };
    let agent = front.agent();
    let caller = Caller { identity, connection: Arc::default(), line: Arc::default() };
    let open = Open {
        caller: caller.clone(),
        leases: agent.leases().clone(),
        _counted: agent.metrics().connected(),
    };
    // C-core's and Java's gRPC name the socket's path as the authority, which h2 would refuse.
    let wire = Mended::new(Wire::new(stream, caller.line.clone()));
    let front = front.clone();
    let service = service_fn(move |request| front.clone().answer(caller.clone(), request));
    let protocol = auto::Builder::new(TokioExecutor::new());
    let served =
        connections.watch(protocol.serve_connection(TokioIo::new(wire), service).into_owned());
    tokio::spawn(async move {
        let _open = open;
        if let Err(error) = served.await {
            // Callers hang up as they please: that is no problem of this agent.
            tracing::debug!(error, "a connection broke off");
        }
    });
}

/// A connection in use; its leases are let go when it is dropped, however it ended.
struct Open {
    caller: Caller,
    leases: Arc<Leases>,
    _counted: Connected,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.caller.line.over();
        self.leases.close(&self.caller.connection);
    }
}
