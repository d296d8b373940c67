//! Accepts connections and serves each until it ends, or until the agent does.

use std::{sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use mend_authority::Mended;
use tokio::net::{UnixListener, UnixStream};

use super::{Caller, delivery::Wire, front::Front, limits, metrics::Connected};
use crate::{
    publish::leases::{Identity, Leases},
    quota::Permit,
};

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
    let permit = match agent.connections().take(identity) {
        Ok(permit) => permit,
        Err(exhausted) => {
            // Which protocol it speaks is not known yet: there is no way to tell it why.
            if agent.metrics().connection_refused() {
                tracing::warn!(%identity, "hung up on a caller: {exhausted}");
            }
            return;
        }
    };
    let caller = Caller { identity, connection: Arc::default(), line: Arc::default() };
    let open = Open {
        caller: caller.clone(),
        leases: agent.leases().clone(),
        _counted: agent.metrics().connected(),
        _permit: permit,
    };
    // C-core's and Java's gRPC name the socket's path as the authority, which h2 would refuse.
    let wire = Mended::new(Wire::new(stream, caller.line.clone()));
    let front = front.clone();
    let service = service_fn(move |request| front.clone().answer(caller.clone(), request));
    let served =
        connections.watch(protocols().serve_connection(TokioIo::new(wire), service).into_owned());
    tokio::spawn(async move {
        let _open = open;
        if let Err(error) = served.await {
            // Callers hang up as they please: that is no problem of this agent.
            tracing::debug!(error, "a connection broke off");
        }
    });
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    protocols.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEAD_TIME);
    protocols
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEAD);
    protocols
}

/// A connection in use; its leases are let go when it is dropped, however it ended.
struct Open {
    caller: Caller,
    leases: Arc<Leases>,
    _counted: Connected,
    _permit: Permit<Identity>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.caller.line.over();
        self.leases.close(&self.caller.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, body::Incoming};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_given_up_after_its_time() {
        let (mut caller, stream) = UnixStream::pair().unwrap();
        let answer = |_: hyper::Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        };
        let served =
            protocols().serve_connection(TokioIo::new(stream), service_fn(answer)).into_owned();
        let served = tokio::spawn(served);
        let begun = tokio::time::Instant::now();
        caller.write_all(b"GET /v1/services HTTP/1.1\r\nhos").await.unwrap();
        let mut rest = Vec::new();
        caller.read_to_end(&mut rest).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), limits::HEAD_TIME.as_secs());
        assert!(served.await.unwrap().is_err());
    }
}
