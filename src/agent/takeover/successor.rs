//! The new agent's side of a take-over.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};
use tracing::{debug, info, warn};

use super::{
    channel::Channel,
    error::{ANSWER_LIMIT, SOURCES_LIMIT, TakeoverError},
    message::{Hello, Lease, Offer, Payload, PodNames, Serving, Update, VERSION},
};
use crate::{
    agent::start_error::StartError,
    catalog::Catalog,
    serve::{self, connection::accept::GRACE},
    socket::{
        address::SocketAddress,
        listener,
        lock::{SocketError, SocketLock},
    },
    state::Origins,
};

/// How often to try the lock of an agent that is about to end.
const ENDING_POLL: Duration = Duration::from_millis(20);

/// Completes after the last event from the agent before.
pub(in crate::agent) type PredecessorEvents = tokio::task::JoinHandle<()>;

/// A new agent, with what it got from the one before it.
pub(in crate::agent) struct Successor {
    /// The pid of the agent before.
    pub(in crate::agent) from: String,
    /// The listener of its admin pages.
    pub(in crate::agent) admin: Option<TcpListener>,
    /// Its socket, if that had been passed to it.
    pub(in crate::agent) socket: Option<UnixListener>,
    channel: Channel,
}

/// Takes the socket over from the live agent `pid`. In the end both agents have the lock, and the other
/// one serves until [`Successor::report_serving`]. Without a [`Successor`] the other agent has ended by
/// itself. `admin`: the address of this agent's pages.
pub(in crate::agent) async fn take(
    address: &SocketAddress,
    admin: SocketAddr,
    pid: String,
    origins: &Origins,
    agent: &serve::Agent,
) -> Result<(SocketLock, Option<Successor>), StartError> {
    wait_for_sources(&origins.catalog, &pid).await?;
    let socket = listener::takeover_path(address.path());
    let connected = listener::connect(&socket).and_then(|stream| {
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    });
    let mut channel = match connected {
        Ok(stream) => Channel(stream),
        Err(reason) => {
            let socket_lock = acquire_once_ended(address).await;
            return match socket_lock {
                Err(SocketError::Live { pid, .. }) => {
                    Err(TakeoverError::Unreachable { pid, socket, reason }.into())
                }
                socket_lock => Ok((socket_lock?, None)),
            };
        }
    };
    match ask(&mut channel, admin, &pid, origins, agent).await {
        Ok((offer, mut descriptors)) => {
            let mut next = || (!descriptors.is_empty()).then(|| descriptors.remove(0));
            let lock = next().ok_or_else(|| TakeoverError::BadMessage {
                pid: pid.clone(),
                why: "it sent no lock".to_owned(),
            })?;
            let socket_lock = SocketLock::inherited(address, lock);
            let admin = next().map(TcpListener::from);
            let socket = offer.with_socket.then(next).flatten().map(UnixListener::from);
            Ok((socket_lock, Some(Successor { from: pid, admin, socket, channel })))
        }
        Err(AskError::Refused(error)) => Err(error.into()),
        Err(AskError::Disconnected(reason)) => match acquire_once_ended(address).await {
            Err(SocketError::Live { pid, .. }) => {
                let why = format!("it closed the connection ({reason})");
                Err(TakeoverError::Refused { pid, why }.into())
            }
            socket_lock => {
                agent.leases().expect_events(false);
                Ok((socket_lock?, None))
            }
        },
    }
}

/// Waits for the lock of an agent that does not answer, since it is about to end or has just ended.
async fn acquire_once_ended(address: &SocketAddress) -> Result<SocketLock, SocketError> {
    let taken = async {
        loop {
            match SocketLock::acquire(address) {
                Err(SocketError::Live { .. }) => tokio::time::sleep(ENDING_POLL).await,
                taken => return taken,
            }
        }
    };
    let socket_lock = match timeout(GRACE + ANSWER_LIMIT, taken).await {
        Ok(socket_lock) => socket_lock,
        Err(_) => SocketLock::acquire(address),
    };
    socket_lock.inspect(|_| info!("the agent before this one has ended meanwhile"))
}

/// Waits for the sources: without them this agent would know less than the one before.
async fn wait_for_sources(catalog: &Catalog, pid: &str) -> Result<(), TakeoverError> {
    if catalog.wait_synced(SOURCES_LIMIT).await {
        return Ok(());
    }
    let sources = catalog.unsynced().iter().map(ToString::to_string).collect();
    Err(TakeoverError::Sources { pid: pid.to_owned(), sources })
}

enum AskError {
    /// The other agent refused, or its answer was invalid.
    Refused(TakeoverError),
    Disconnected(io::Error),
}

impl From<io::Error> for AskError {
    fn from(reason: io::Error) -> Self {
        Self::Disconnected(reason)
    }
}

async fn ask(
    channel: &mut Channel,
    admin: SocketAddr,
    pid: &str,
    origins: &Origins,
    agent: &serve::Agent,
) -> Result<(Offer, Vec<std::os::fd::OwnedFd>), AskError> {
    let hung = |_| AskError::Refused(TakeoverError::TimedOut { pid: pid.to_owned() });
    let (pid_here, admin) = (std::process::id(), admin.to_string());
    channel.send(Payload::Hello(Hello { version: VERSION, pid: pid_here, admin })).await?;
    let bad_message =
        |why: String| AskError::Refused(TakeoverError::BadMessage { pid: pid.to_owned(), why });
    let (offer, descriptors) =
        match timeout(ANSWER_LIMIT, channel.receive()).await.map_err(hung)?? {
            (Payload::Offer(offer), descriptors) => (offer, descriptors),
            (Payload::Refusal(refusal), _) => {
                let (pid, why) = (pid.to_owned(), refusal.why);
                return Err(AskError::Refused(TakeoverError::Refused { pid, why }));
            }
            (other, _) => return Err(bad_message(format!("it sent {other:?}, not an offer"))),
        };
    for (uid, pod) in offer.pods.iter().filter_map(PodNames::read) {
        agent.pods().remember(uid, pod);
    }
    origins.remember(&offer.judgements).map_err(|error| bad_message(error.to_string()))?;
    agent.leases().expect_events(true);
    let (mut adopted, mut lost, mut waiting) = (0, 0, true);
    loop {
        let answer = timeout(ANSWER_LIMIT, channel.receive()).await.map_err(hung)??;
        let (Payload::Leases(leases), _) = answer else {
            return Err(bad_message("no leases".to_owned()));
        };
        let handed: Vec<_> = leases.leases.iter().filter_map(Lease::read).collect();
        // Once for all leases, since the other agent waits meanwhile.
        if waiting {
            let services = handed.iter().map(|lease| lease.target.service.clone());
            waiting = agent.expect(services).await;
        }
        for lease in handed {
            match agent.adopt(lease) {
                true => adopted += 1,
                false => lost += 1,
            }
        }
        if leases.last {
            break;
        }
        tokio::task::yield_now().await;
    }
    if lost > 0 {
        warn!(
            leases = lost,
            "some leases were not taken over: their endpoints are gone, or their callers hold too \
             many"
        );
    }
    debug!(leases = adopted, judgements = offer.judgements.len(), "taken over");
    Ok((offer, descriptors))
}

impl Successor {
    /// Reports that this agent serves, and from then on applies the events of the leases there.
    pub(in crate::agent) async fn report_serving(
        mut self,
        agent: Arc<serve::Agent>,
    ) -> PredecessorEvents {
        if let Err(error) = self.channel.send(Payload::Serving(Serving {})).await {
            warn!(pid = self.from, %error, "the agent before this one is gone");
        }
        info!(pid = self.from, "took over");
        tokio::spawn(async move {
            while let Ok((what, _)) = self.channel.receive().await {
                if let Payload::Updates(updates) = what {
                    updates
                        .events
                        .iter()
                        .filter_map(Update::read)
                        .for_each(|event| agent.hear(event));
                    tokio::task::yield_now().await;
                }
            }
            agent.leases().expect_events(false);
            debug!(pid = self.from, "the agent before this one has ended");
        })
    }
}
