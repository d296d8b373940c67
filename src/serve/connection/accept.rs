//! Accepts connections and serves each until it ends, or until it is told to.

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

pub use super::dispatch::Leave;
use super::{
    dispatch::Talk, idle_timeout::Patience, resting::Resting, router::Front, tracked_io::Noted,
};
use crate::{
    identity::{Identity, PodUid},
    leases::Leases,
    serve::{Agent, Caller, isolation::account::Account, limits},
};

/// How long requests may take to finish once the agent is told to end. A pick waits for a source
/// for 5 s at most; Kubernetes kills after 30 s.
pub const GRACE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before others have their turn. Each takes some 0.1 ms.
const AT_A_TIME: u32 = 8;

/// All connections of the socket.
#[derive(Debug)]
pub struct Connections {
    front: Front,
    leave: watch::Sender<Leave>,
    /// As `leave` is no longer [`Leave::Stay`]; cheaper to ask with each answer.
    leaving: Arc<AtomicBool>,
    patience: Patience,
}

impl Connections {
    /// None yet; they will be answered by this.
    #[must_use]
    pub fn new(front: Front) -> Self {
        let leave = watch::Sender::new(Leave::Stay);
        Self { front, leave, leaving: Arc::default(), patience: Patience::new() }
    }

    /// Serves whoever connects, for ever.
    pub async fn accept(&self, listener: &UnixListener) {
        tokio::select! {
            () = self.accept_all(listener, None) => {}
            () = self.patience.look() => {}
        }
    }

    /// Serves whoever connects through this pod's own listener, for ever, while
    /// [`Connections::accept`] goes on.
    pub async fn accept_pod(&self, listener: &UnixListener, pod: PodUid) {
        self.accept_all(listener, Some(pod)).await;
    }

    async fn accept_all(&self, listener: &UnixListener, pod: Option<PodUid>) {
        let mut accepted = 0_u32;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let rests = self.attend(stream, pod);
                    accepted += 1;
                    match pod.and(rests) {
                        // Nobody else comes through this listener.
                        Some(until) => sleep_until(until).await,
                        // A pod's is accepted from where picks are served.
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

    /// Tells all of them, and those still to come, to leave.
    pub fn leave(&self, how: Leave) {
        self.leaving.store(how != Leave::Stay, SeqCst);
        self.leave.send_replace(how);
        // Streams would go on for ever.
        self.front.agent().ending().begin();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leave.receiver_count()
    }

    /// Waits until there are none.
    pub async fn gone(&self) {
        self.leave.closed().await;
    }

    /// What the connections' calls share.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        self.front.agent()
    }

    /// Serves a connection; until when its caller is to wait, where it is refused often.
    fn attend(&self, stream: UnixStream, pod: Option<PodUid>) -> Option<Instant> {
        let user = || stream.peer_cred().map(|peer| Identity::Uid(peer.uid()));
        let identity = match pod.map_or_else(user, |pod| Ok(Identity::Pod(pod))) {
            Ok(identity) => identity,
            Err(error) => {
                tracing::warn!(%error, "a caller's identity is unknown; hanging up");
                return None;
            }
        };
        let agent = self.front.agent();
        let permit = match agent.connections().take(identity) {
            Ok(permit) => permit,
            Err(exhausted) => {
                // Which protocol it speaks is not known yet: there is no way to tell it why.
                if agent.metrics().connection_refused() {
                    let caller = agent.pods().named(identity);
                    tracing::warn!(%caller, "hung up on a caller: {exhausted}");
                }
                return agent.tarpit.close(identity, &exhausted, stream);
            }
        };
        // Without it more waits in the kernel, unread, than is counted anywhere.
        if let Err(error) = set_socket_send_buffer_size(&stream, limits::SEND_BUFFER) {
            tracing::debug!(%error, "a connection's buffer stays as large as it was");
        }
        let caller = Caller {
            identity,
            owner: agent.leases().owner(identity),
            connection: Arc::default(),
            line: Arc::default(),
            account: Account::new(agent.pending().clone(), agent.tarpit.clone(), identity),
        };
        let open = Open { caller: caller.clone(), leases: agent.leases().clone() };
        let counted = (agent.metrics().connected(), permit);
        // C-core's and Java's gRPC name the socket's path as the authority, which h2 would refuse.
        let stream = Mended::new(stream);
        let waiting = self.patience.wait();
        let account = caller.account.clone();
        let stream = Noted::new(stream, caller.line.clone(), waiting.clone(), account.clone());
        let stream = Resting::new(stream, account.clone());
        let talk = Talk::new(self.front.clone(), caller, waiting.clone(), self.leaving.clone());
        let heard = talk.clone();
        let service = service_fn(move |request| heard.clone().answer(request));
        let served = protocols().serve_connection(TokioIo::new(stream), service).into_owned();
        let agent = agent.clone();
        let mut leave = self.leave.subscribe();
        tokio::spawn(async move {
            let (open, _counted) = (open, counted);
            let mut served = Box::pin(served);
            // As a set of one, since a set polls what was woken: not this with every request.
            let mut told = FuturesUnordered::from_iter([async {
                tokio::select! {
                    () = talk.to_end(&mut leave) => Told::Leave,
                    () = waiting.over() => Told::Enough,
                }
            }]);
            let ended = tokio::select! {
                biased;
                ended = &mut served => ended,
                Some(told) = told.next() => match told {
                    Told::Leave => {
                        served.as_mut().graceful_shutdown();
                        // What is done by now counts as gone only when it is: `leave` is held.
                        served.as_mut().await
                    }
                    // Nothing is under way that could be finished, or nothing more of it can come.
                    Told::Enough => Ok(()),
                },
            };
            drop((told, served, open));
            if let Some(exhausted) = account.refusal()
                && agent.metrics().connection_refused()
            {
                let caller = agent.pods().named(identity);
                tracing::warn!(%caller, "hung up on a caller: {exhausted}");
            }
            if let Err(error) = ended {
                // Callers hang up as they please: that is no problem of this agent.
                tracing::debug!(error, "a connection broke off");
                if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                    account.was_refused();
                }
            }
            drop(leave);
            // Its caller's share of the connections is used up meanwhile.
            if let Some(until) = account.take_rest() {
                sleep_until(until).await;
            }
        });
        None
    }
}

/// Why a connection ends before its caller ends it.
enum Told {
    /// All are to leave.
    Leave,
    /// It was waited for long enough.
    Enough,
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    // To copy an answer of usual length behind its head takes less than to list the two.
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

/// A connection in use; its leases are let go when it is dropped, however it ended.
struct Open {
    caller: Caller,
    leases: Arc<Leases>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.caller.line.over();
        self.leases.close(&self.caller.connection);
    }
}
