//! Accepts connections, and serves each until it ends or has to close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mend_authority::Mended;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::{Instant, sleep_until},
};

pub use super::dispatch::Drain;
use super::{
    dispatch::Dispatch, idle_timeout::IdleTimeouts, throttled_io::Throttled, tracked_io::TrackedIo,
};
use crate::{
    identity::{Identity, PodUid},
    leases::Leases,
    serve::{
        Agent, Caller, grpc::health_and_reflection::HealthAndReflection,
        isolation::account::Account, limits,
    },
};

/// How long requests may take to finish after SIGTERM. A pick waits for a source for 5 s at most;
/// Kubernetes kills after 30 s.
pub const GRACE: Duration = Duration::from_secs(5);

/// The pause after `accept` fails, which it does when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before other tasks have their turn. Each takes some 0.1 ms.
const AT_A_TIME: u32 = 8;

/// All connections of the socket.
#[derive(Debug)]
pub struct Connections {
    agent: Arc<Agent>,
    health_and_reflection: HealthAndReflection,
    drain: watch::Sender<Drain>,
    /// Whether `drain` is not [`Drain::Off`]. Each answer reads it, so that it has to be cheap.
    draining: Arc<AtomicBool>,
    idle_timeouts: IdleTimeouts,
}

impl Connections {
    #[must_use]
    pub fn new(agent: Arc<Agent>) -> Self {
        Self {
            health_and_reflection: HealthAndReflection::new(agent.clone()),
            agent,
            drain: watch::Sender::new(Drain::Off),
            draining: Arc::default(),
            idle_timeouts: IdleTimeouts::new(),
        }
    }

    /// Serves every connection of this listener. Never returns.
    pub async fn accept(&self, listener: &UnixListener) {
        tokio::select! {
            () = self.accept_all(listener, None) => {}
            () = self.idle_timeouts.run() => {}
        }
    }

    /// Serves every connection of this pod's own listener. Never returns. [`Connections::accept`] has to
    /// run beside it, since it runs the idle timeouts.
    pub async fn accept_pod(&self, listener: &UnixListener, pod: PodUid) {
        self.accept_all(listener, Some(pod)).await;
    }

    async fn accept_all(&self, listener: &UnixListener, pod: Option<PodUid>) {
        let mut accepted = 0_u32;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let rest_until = self.serve(stream, pod);
                    accepted += 1;
                    match pod.and(rest_until) {
                        // Only this pod uses this listener, so that nobody else waits.
                        Some(until) => sleep_until(until).await,
                        // Pods' listeners run on the threads that serve picks.
                        None if accepted.is_multiple_of(AT_A_TIME) => {
                            tokio::task::yield_now().await
                        }
                        None => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Has all connections close, those that are still to come as well.
    pub fn drain(&self, how: Drain) {
        self.draining.store(how != Drain::Off, SeqCst);
        self.drain.send_replace(how);
        // Streams have no end of their own.
        self.agent.shutdown().begin();
    }

    /// How many connections are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.drain.receiver_count()
    }

    /// Waits until no connection is open.
    pub async fn drained(&self) {
        self.drain.closed().await;
    }

    /// The state that all calls share.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Serves a connection. Returns until when its caller has to wait, if it is refused often.
    fn serve(&self, stream: UnixStream, pod: Option<PodUid>) -> Option<Instant> {
        let user = || stream.peer_cred().map(|peer| Identity::Uid(peer.uid()));
        let identity = match pod.map_or_else(user, |pod| Ok(Identity::Pod(pod))) {
            Ok(identity) => identity,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "closed a connection: the identity of its caller is unknown"
                );
                return None;
            }
        };
        let agent = &self.agent;
        let permit = match agent.connections().take(identity) {
            Ok(permit) => permit,
            Err(exhausted) => {
                // Its protocol is not known yet, so that no answer can say why.
                if agent.metrics().connection_refused() {
                    let caller = agent.pods().named(identity);
                    tracing::warn!(%caller, "hung up on a caller: {exhausted}");
                }
                return agent.tarpit.close(identity, &exhausted, stream);
            }
        };
        // With the default size the kernel would keep more unread bytes than the caller's account has.
        if let Err(error) = set_socket_send_buffer_size(&stream, limits::SEND_BUFFER) {
            tracing::debug!(%error, "a connection's buffer stays as large as it was");
        }
        let caller = Caller {
            identity,
            owner: agent.leases().owner(identity),
            connection: Arc::default(),
            delivery: Arc::default(),
            account: Account::new(agent.pending().clone(), agent.tarpit.clone(), identity),
        };
        let leases = LeaseCloser { caller: caller.clone(), leases: agent.leases().clone() };
        let counted = (agent.metrics().connected(), permit);
        // C-core's and Java's gRPC name the socket's path as the authority, which h2 would refuse.
        let stream = Mended::new(stream);
        let idle_timer = self.idle_timeouts.add();
        let account = caller.account.clone();
        let stream =
            TrackedIo::new(stream, caller.delivery.clone(), idle_timer.clone(), account.clone());
        let stream = Throttled::new(stream, account.clone());
        let dispatch = Dispatch::new(
            agent.clone(),
            self.health_and_reflection.clone(),
            caller,
            idle_timer.clone(),
            self.draining.clone(),
        );
        let service = dispatch.clone();
        let service = service_fn(move |request| service.clone().answer(request));
        let served = protocols().serve_connection(TokioIo::new(stream), service).into_owned();
        let agent = agent.clone();
        let mut drain = self.drain.subscribe();
        tokio::spawn(async move {
            let (leases, _counted) = (leases, counted);
            let mut served = Box::pin(served);
            // In a FuturesUnordered, so that it is polled only when it is woken, not with every request.
            let mut close = FuturesUnordered::from_iter([async {
                tokio::select! {
                    () = dispatch.closing(&mut drain) => CloseReason::Drain,
                    () = idle_timer.expired() => CloseReason::IdleTimeout,
                }
            }]);
            let ended = tokio::select! {
                biased;
                ended = &mut served => ended,
                Some(reason) = close.next() => match reason {
                    CloseReason::Drain => {
                        served.as_mut().graceful_shutdown();
                        // `drain` lives until the connection is closed: `drained` counts receivers.
                        served.as_mut().await
                    }
                    // No request is under way, or the rest of one will not come.
                    CloseReason::IdleTimeout => Ok(()),
                },
            };
            drop((close, served, leases));
            if let Some(exhausted) = account.refusal()
                && agent.metrics().connection_refused()
            {
                let caller = agent.pods().named(identity);
                tracing::warn!(%caller, "hung up on a caller: {exhausted}");
            }
            if let Err(error) = ended {
                // Callers may hang up at any time, so that this is no warning.
                tracing::debug!(error, "a connection broke off");
                if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                    account.was_refused();
                }
            }
            drop(drain);
            // The connection counts for its caller during the pause.
            if let Some(until) = account.take_rest() {
                sleep_until(until).await;
            }
        });
        None
    }
}

/// Why the agent closes a connection.
enum CloseReason {
    /// All connections close.
    Drain,
    /// A request, or the rest of a frame, did not come in time.
    IdleTimeout,
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    // Copying an answer of usual length behind its head is cheaper than a vectored write.
    protocols.http1().writev(false).max_buf_size(limits::MAX_HEAD as usize);
    protocols
        .http2()
        .max_concurrent_streams(limits::MAX_STREAMS)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::STREAM_WINDOW as usize)
        .max_header_list_size(limits::MAX_HEAD);
    protocols
}

/// Ends the leases that depend on a connection when it is dropped, however the connection ended.
struct LeaseCloser {
    caller: Caller,
    leases: Arc<Leases>,
}

impl Drop for LeaseCloser {
    fn drop(&mut self) {
        self.caller.delivery.connection_closed();
        self.leases.close(&self.caller.connection);
    }
}
