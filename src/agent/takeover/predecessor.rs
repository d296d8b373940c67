//! The old agent's side of a take-over.

use std::{
    io,
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixListener as StdUnixListener},
    sync::Arc,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};
use tracing::{error, info, warn};

use super::{
    channel::Channel,
    error::ANSWER_LIMIT,
    message::{Lease, Leases, Offer, Payload, PodNames, Refusal, Update, Updates, VERSION},
};
use crate::{
    agent::sockets::Sockets,
    leases::Handoff,
    serve::{self, pods::PodListeners},
    socket::lock::SocketLock,
    state::{Keeper, Origins},
};

const LEASES_PER_MESSAGE: usize = 1000;

/// Hands the socket over to another agent.
pub(in crate::agent) struct Predecessor<'a> {
    pub(in crate::agent) socket_lock: &'a SocketLock,
    pub(in crate::agent) sockets: &'a Sockets,
    pub(in crate::agent) pods: Option<&'a PodListeners>,
    pub(in crate::agent) admin: &'a TcpListener,
    pub(in crate::agent) keeper: Option<&'a Keeper>,
    pub(in crate::agent) origins: &'a Origins,
    pub(in crate::agent) agent: &'a Arc<serve::Agent>,
    /// The current listener. A new one is put here if the socket has to be replaced.
    pub(in crate::agent) listener: &'a watch::Sender<Arc<UnixListener>>,
}

/// The connection to the agent that serves from now on.
pub(in crate::agent) struct SuccessorLink {
    /// Its pid from the kernel; `None` if it is in another pid namespace.
    pub(in crate::agent) pid: Option<u32>,
    /// Its admin pages are at the same address.
    pub(in crate::agent) has_admin: bool,
    channel: Channel,
    leases: Handoff,
}

impl Predecessor<'_> {
    /// Completes when another agent serves.
    pub(in crate::agent) async fn run(&self, mut takeover_socket: UnixListener) -> SuccessorLink {
        loop {
            let stream = match takeover_socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "a connection to the take-over socket could not be accepted");
                    tokio::time::sleep(ANSWER_LIMIT).await;
                    continue;
                }
            };
            let pid = match allowed_peer(&stream) {
                Ok(pid) => pid,
                Err(error) => {
                    warn!(%error, "not handing over");
                    continue;
                }
            };
            let mut channel = Channel(stream);
            match self.hand_over(&mut channel).await {
                Ok((has_admin, leases)) => {
                    return SuccessorLink { pid, has_admin, channel, leases };
                }
                Err(error) => {
                    warn!(
                        pid,
                        %error,
                        "an agent began to take over and did not finish; this agent continues to \
                         serve"
                    );
                    if let Some(new_socket) = self.resume() {
                        takeover_socket = new_socket;
                    }
                }
            }
        }
    }

    /// Returns also whether the other agent's admin pages have this one's address.
    async fn hand_over(&self, channel: &mut Channel) -> io::Result<(bool, Handoff)> {
        let hello = timeout(ANSWER_LIMIT, channel.receive()).await??;
        let (Payload::Hello(hello), _) = hello else {
            return Err(io::Error::other("its first message is not a hello"));
        };
        if hello.version != VERSION {
            let found = hello.version;
            let why = format!(
                "it speaks version {VERSION} of the take-over, not {found}; end it, and start \
                 without --takeover"
            );
            channel.send(Payload::Refusal(Refusal { why: why.clone() })).await?;
            return Err(io::Error::other(why));
        }
        info!(pid = hello.pid, "handing over to another agent");
        let has_admin = hello.admin == self.admin.local_addr()?.to_string();
        if let Some(keeper) = self.keeper {
            // Blocks while the keeper writes.
            let keeper = keeper.clone();
            tokio::task::spawn_blocking(move || keeper.stand_back()).await?;
        }
        self.pods.inspect(|pods| pods.pause());
        let pods = self.agent.pods().all();
        let offer = Offer {
            with_socket: self.sockets.passed.is_some(),
            judgements: self.origins.judgements(),
            pods: pods.iter().map(|(uid, pod)| PodNames::write(*uid, pod)).collect(),
        };
        let mut descriptors = vec![self.socket_lock.fd(), self.admin.as_fd()];
        descriptors.extend(self.sockets.passed.as_ref().map(StdUnixListener::as_fd));
        channel.send_with(Payload::Offer(offer), &descriptors).await?;
        let mut handoff = self.agent.leases().hand_over();
        let mut last = false;
        while !last {
            let open = handoff.open(LEASES_PER_MESSAGE);
            last = open.is_empty();
            let leases = open.iter().map(Lease::write).collect();
            channel.send(Payload::Leases(Leases { leases, last })).await?;
            // This task also accepts connections.
            tokio::task::yield_now().await;
        }
        // No timeout: as long as the other agent lives, it has the lock, too.
        match channel.receive().await? {
            (Payload::Serving(_), _) => Ok((has_admin, handoff)),
            (other, _) => Err(io::Error::other(format!("it sent {other:?}"))),
        }
    }

    /// Resumes after a failed take-over. Returns a new take-over socket if the old one was replaced.
    fn resume(&self) -> Option<UnixListener> {
        if let Some(keeper) = self.keeper {
            keeper.carry_on();
        }
        self.pods.inspect(|pods| pods.resume());
        if let Err(error) = self.socket_lock.write_pid() {
            warn!(%error, "the lock file still has the pid of the other agent");
        }
        match self.sockets.put_back(self.socket_lock) {
            Ok((socket, takeover_socket)) => {
                if let Some(socket) = socket {
                    self.listener.send_replace(Arc::new(socket));
                }
                takeover_socket
            }
            Err(error) => {
                error!(%error, "the socket could not be put back: new callers find no agent");
                None
            }
        }
    }
}

/// The peer's pid.
///
/// # Errors
/// The peer is neither this agent's own user nor root.
fn allowed_peer(stream: &UnixStream) -> io::Result<Option<u32>> {
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if peer.uid() != own && peer.uid() != 0 {
        let uid = peer.uid();
        return Err(io::Error::other(format!("uid {uid} asked, but this agent runs as uid {own}")));
    }
    // 0: another pid namespace.
    Ok(peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0))
}

impl SuccessorLink {
    /// Sends events of the leases here until the successor is gone.
    pub(in crate::agent) async fn send_updates(mut self) {
        while let Some(events) = self.leases.events(LEASES_PER_MESSAGE).await {
            let updates = Updates { events: events.iter().map(Update::write).collect() };
            if let Err(error) = self.channel.send(Payload::Updates(updates)).await {
                info!(%error, "the agent that took over is gone");
                return;
            }
        }
    }
}
