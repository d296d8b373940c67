//! The new agent's side.

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
    ANSWER_LIMIT, SOURCES_LIMIT, TakeoverError,
    message::{Hello, Item, Lease, Offer, PodNames, Serving, VERSION, What},
    wire::Wire,
};
use crate::{
    catalog::Catalog,
    serve::{self, connection::accept::GRACE},
    socket::{
        address::SocketAddress,
        listener,
        lock::{Claim, ClaimError},
    },
    state::Origins,
};

/// How often to look whether it has ended.
const ENDING_POLL: Duration = Duration::from_millis(20);

/// Done when the agent before has said all.
pub(in crate::agent) type Hearing = tokio::task::JoinHandle<()>;

/// What an agent has from the one before it.
pub(in crate::agent) struct Heir {
    /// Its pid.
    pub(in crate::agent) from: String,
    /// Its admin pages' listener.
    pub(in crate::agent) admin: Option<TcpListener>,
    /// Its socket, where that had been passed to it.
    pub(in crate::agent) socket: Option<UnixListener>,
    wire: Wire,
}

/// Takes the socket over from the live agent `pid`; at the end both have the claim to it, and the
/// one before serves until [`Heir::serves`]. None beside the claim: it has ended by itself.
/// `admin`: where this agent's pages are to be.
pub(in crate::agent) async fn take(
    address: &SocketAddress,
    admin: SocketAddr,
    pid: String,
    origins: &Origins,
    agent: &serve::Agent,
) -> Result<(Claim, Option<Heir>), super::super::StartError> {
    ready(&origins.catalog, &pid).await?;
    let socket = listener::takeover_path(address.path());
    let connected = listener::connect(&socket).and_then(|stream| {
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    });
    let mut wire = match connected {
        Ok(stream) => Wire(stream),
        Err(reason) => {
            let claim = once_ended(address).await;
            return match claim {
                Err(ClaimError::Live { pid, .. }) => {
                    Err(TakeoverError::Deaf { pid, socket, reason }.into())
                }
                claim => Ok((claim?, None)),
            };
        }
    };
    match ask(&mut wire, admin, &pid, origins, agent).await {
        Ok((offer, mut descriptors)) => {
            let mut next = || (!descriptors.is_empty()).then(|| descriptors.remove(0));
            let lock = next().ok_or_else(|| TakeoverError::InvalidRecord {
                pid: pid.clone(),
                why: "it sent no lock".to_owned(),
            })?;
            let claim = Claim::handed(address, lock);
            let admin = next().map(TcpListener::from);
            let socket = offer.with_socket.then(next).flatten().map(UnixListener::from);
            Ok((claim, Some(Heir { from: pid, admin, socket, wire })))
        }
        Err(Asked::Says(error)) => Err(error.into()),
        Err(Asked::Ended(reason)) => match once_ended(address).await {
            Err(ClaimError::Live { pid, .. }) => {
                let why = format!("it hung up ({reason})");
                Err(TakeoverError::Refused { pid, why }.into())
            }
            claim => {
                agent.leases().expect_news(false);
                Ok((claim?, None))
            }
        },
    }
}

/// The claim of an agent that hears nobody, since it is about to end or just has.
async fn once_ended(address: &SocketAddress) -> Result<Claim, ClaimError> {
    let taken = async {
        loop {
            match Claim::take(address) {
                Err(ClaimError::Live { .. }) => tokio::time::sleep(ENDING_POLL).await,
                taken => return taken,
            }
        }
    };
    let claim = match timeout(GRACE + ANSWER_LIMIT, taken).await {
        Ok(claim) => claim,
        Err(_) => Claim::take(address),
    };
    claim.inspect(|_| info!("the agent before this one has ended meanwhile"))
}

/// Waits for the sources: whoever took over without them would know less than the one before.
async fn ready(catalog: &Catalog, pid: &str) -> Result<(), TakeoverError> {
    if catalog.wait_synced(SOURCES_LIMIT).await {
        return Ok(());
    }
    let sources = catalog.unsynced().iter().map(ToString::to_string).collect();
    Err(TakeoverError::Sources { pid: pid.to_owned(), sources })
}

enum Asked {
    /// It answered, and that is no.
    Says(TakeoverError),
    /// The connection ended.
    Ended(io::Error),
}

impl From<io::Error> for Asked {
    fn from(reason: io::Error) -> Self {
        Self::Ended(reason)
    }
}

async fn ask(
    wire: &mut Wire,
    admin: SocketAddr,
    pid: &str,
    origins: &Origins,
    agent: &serve::Agent,
) -> Result<(Offer, Vec<std::os::fd::OwnedFd>), Asked> {
    let hung = |_| Asked::Says(TakeoverError::Hung { pid: pid.to_owned() });
    let (pid_here, admin) = (std::process::id(), admin.to_string());
    wire.send(What::Hello(Hello { version: VERSION, pid: pid_here, admin })).await?;
    let nonsense =
        |why: String| Asked::Says(TakeoverError::InvalidRecord { pid: pid.to_owned(), why });
    let (offer, descriptors) = match timeout(ANSWER_LIMIT, wire.receive()).await.map_err(hung)?? {
        (What::Offer(offer), descriptors) => (offer, descriptors),
        (What::Refusal(refusal), _) => {
            let (pid, why) = (pid.to_owned(), refusal.why);
            return Err(Asked::Says(TakeoverError::Refused { pid, why }));
        }
        (other, _) => return Err(nonsense(format!("{other:?} for an offer"))),
    };
    for (uid, pod) in offer.pods.iter().filter_map(PodNames::read) {
        agent.pods().remember(uid, pod);
    }
    origins.remember(&offer.judgements).map_err(|error| nonsense(error.to_string()))?;
    agent.leases().expect_news(true);
    let (mut adopted, mut lost, mut waiting) = (0, 0, true);
    loop {
        let answer = timeout(ANSWER_LIMIT, wire.receive()).await.map_err(hung)??;
        let (What::Leases(leases), _) = answer else {
            return Err(nonsense("no leases".to_owned()));
        };
        let handed: Vec<_> = leases.leases.iter().filter_map(Lease::read).collect();
        // Once, however many leases there are: the agent before has other things to do.
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
            "not taken over: their endpoints are gone, or their callers hold too many"
        );
    }
    debug!(leases = adopted, judgements = offer.judgements.len(), "taken over");
    Ok((offer, descriptors))
}

impl Heir {
    /// Says that this agent serves; from then on it hears what becomes of the leases there.
    pub(in crate::agent) async fn serves(mut self, agent: Arc<serve::Agent>) -> Hearing {
        if let Err(error) = self.wire.send(What::Serving(Serving {})).await {
            warn!(pid = self.from, %error, "the agent before this one is gone");
        }
        info!(pid = self.from, "took over");
        tokio::spawn(async move {
            while let Ok((what, _)) = self.wire.receive().await {
                if let What::Since(since) = what {
                    since.news.iter().filter_map(Item::read).for_each(|news| agent.hear(news));
                    tokio::task::yield_now().await;
                }
            }
            agent.leases().expect_news(false);
            debug!(pid = self.from, "the agent before this one has ended");
        })
    }
}
