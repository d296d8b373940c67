//! An agent that has the socket. It serves until SIGTERM or until another agent takes over, and then
//! shuts down gracefully.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{net::UnixListener, sync::watch};
use tracing::{error, info, warn};

use super::{
    activation::PassedSocket,
    components::Components,
    signals::{SignalAction, Signals},
    sockets::Sockets,
    source_status,
    start_error::{StartError, system},
    systemd,
    takeover::{self, Predecessor, PredecessorEvents, Successor, SuccessorLink},
};
use crate::{
    catalog::Catalog,
    serve::{
        Agent, admin,
        connection::accept::{Connections, Drain, GRACE},
        metrics::Series,
        pods::PodListeners,
        priority::lower_priority,
    },
    socket::lock::SocketLock,
};

/// Which agent has the socket at the start.
pub(super) enum SocketOwner {
    ThisAgent(SocketLock),
    /// Another agent has it; its pid.
    OtherAgent(String),
}

/// An agent that has the socket.
pub(super) struct Serving {
    socket_lock: SocketLock,
    sockets: Sockets,
    connections: Arc<Connections>,
    pods: Option<Arc<PodListeners>>,
    listener: watch::Sender<Arc<UnixListener>>,
    takeover_socket: UnixListener,
    admin: TcpListener,
    pages: JoinHandle<()>,
    end_pages: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    predecessor_events: Option<PredecessorEvents>,
}

impl Serving {
    pub(super) async fn start(
        components: &Components,
        owner: SocketOwner,
        admin: Option<TcpListener>,
        passed: Option<PassedSocket>,
    ) -> Result<Self, StartError> {
        let Components { options, agent, .. } = components;
        let (socket_lock, mut successor) = match owner {
            SocketOwner::ThisAgent(socket_lock) => (socket_lock, None),
            SocketOwner::OtherAgent(pid) => {
                takeover::take(&options.socket, options.admin, pid, &components.origins, agent)
                    .await?
            }
        };
        let admin = match admin {
            Some(admin) => admin,
            None => inherited(options.admin, successor.as_mut())?,
        };
        let (listening, listens) = watch::channel(false);
        let (end_pages, ending) = watch::channel(false);
        let state = admin::AdminState {
            agent: agent.clone(),
            tables: components.tables.clone(),
            sources: source_status::shown(&components.sources),
            listening: listens.clone(),
            settings: options.settings(),
            series: Series { endpoints: options.endpoint_metrics },
        };
        let same = admin.try_clone().map_err(system("the admin pages"))?;
        let pages =
            admin::spawn(same, admin::pages(state), ending).map_err(system("the admin thread"))?;

        let passed = passed.map(|passed| passed.listener);
        let passed =
            passed.or_else(|| successor.as_mut().and_then(|successor| successor.socket.take()));
        let sockets = Sockets::new(options.socket_mode, options.socket_group, passed);
        let (made, takeover_socket) = sockets.put_back(&socket_lock)?;
        let socket = match made {
            Some(socket) => Some(socket),
            None => sockets.passed()?,
        };
        let (Some(socket), Some(takeover_socket)) = (socket, takeover_socket) else {
            let reason = io::Error::other("it is in place already");
            return Err(StartError::System { what: "the socket", reason });
        };
        let connections = Arc::new(Connections::new(agent.clone()));
        let pods =
            options.pods.clone().map(|folder| PodListeners::start(folder, connections.clone()));
        socket_lock.write_pid()?;
        options.keep_configuration();
        listening.send_replace(true);
        let ready = tell_when_ready(components.catalog.clone(), listens);
        let taint = options.startup_taint.clone();
        tokio::spawn(async move {
            ready.await;
            if let Some(taint) = taint {
                taint.keep_off().await;
            }
        });
        let predecessor_events = match successor {
            Some(successor) => Some(successor.report_serving(agent.clone()).await),
            None => None,
        };
        if let Some(keeper) = components.keeper.clone() {
            tokio::spawn(async move { keeper.run().await });
        }
        let admin_address = admin.local_addr().map_err(system("the admin pages"))?;
        info!(socket = %options.socket, admin = %admin_address, "listening");
        let listener = watch::Sender::new(Arc::new(socket));
        Ok(Self {
            socket_lock,
            sockets,
            connections,
            pods,
            listener,
            takeover_socket,
            admin,
            pages,
            end_pages,
            listening,
            predecessor_events,
        })
    }

    /// Returns the lock, unless another agent has it now.
    pub(super) async fn serve(
        self,
        components: &Components,
        mut signals: Signals,
    ) -> Result<Option<SocketLock>, StartError> {
        let Self {
            socket_lock,
            sockets,
            connections,
            pods,
            listener,
            takeover_socket,
            admin,
            pages,
            end_pages,
            listening,
            predecessor_events,
        } = self;
        if let Some(pods) = pods.clone() {
            tokio::spawn(async move { pods.follow().await });
        }
        // A caller that connects as fast as it can, and is refused, keeps this thread busy.
        lower_priority("accepting connections");
        let link = {
            let predecessor = Predecessor {
                socket_lock: &socket_lock,
                sockets: &sockets,
                pods: pods.as_deref(),
                admin: &admin,
                keeper: components.keeper.as_ref(),
                origins: &components.origins,
                agent: &components.agent,
                listener: &listener,
            };
            let mut handing_over = std::pin::pin!(predecessor.run(takeover_socket));
            let mut accepting = std::pin::pin!(accept(&connections, listener.subscribe()));
            loop {
                tokio::select! {
                    () = &mut accepting => {}
                    action = signals.next() => match action {
                        SignalAction::Terminate => break None,
                        SignalAction::Reload => {
                            let sources = components.sources.iter().map(|(_, status)| status);
                            components.reload.run(&components.options, &components.tables, &components.agent, sources);
                        }
                    },
                    link = &mut handing_over => break Some(link),
                }
            }
        };
        listening.send_replace(false);
        let stays = components.options.stay && link.is_some();
        // An agent that starts while this one lingers needs the address.
        let has_admin = link.as_ref().is_some_and(|link| link.has_admin);
        if !stays || has_admin {
            end_pages.send_replace(true);
            drop(admin);
        }
        let (socket_lock, mut terminated) = match link {
            None => {
                systemd::stopping();
                // From here on the kernel refuses connections, so that callers retry at the next agent.
                drop((listener, sockets));
                pods.inspect(|pods| pods.end());
                (Some(socket_lock), true)
            }
            Some(link) => {
                drop(socket_lock);
                let handed =
                    HandedOver { link, sockets: (listener, sockets), pods, predecessor_events };
                (None, handed.linger(&connections, &components.agent, &mut signals).await)
            }
        };
        if stays && !terminated {
            connections.drain(Drain::ShutDown);
            info!("waiting for a signal to end");
            signals.terminated().await;
            terminated = true;
        }
        end_pages.send_replace(true);
        signals.exit_on_second(terminated);
        connections.drain(Drain::ShutDown);
        let open = connections.count();
        if tokio::time::timeout(GRACE, connections.drained()).await.is_err() {
            warn!(connections = open, "some requests did not finish in time; ending anyway");
        }
        if pages.join().is_err() {
            error!("the admin thread panicked");
        }
        Ok(socket_lock)
    }
}

/// Accepts on the current listener.
async fn accept(connections: &Connections, mut listener: watch::Receiver<Arc<UnixListener>>) {
    loop {
        let current = listener.borrow_and_update().clone();
        tokio::select! {
            () = connections.accept(&current) => {}
            changed = listener.changed() => if changed.is_err() { return },
        }
    }
}

/// An agent whose socket another agent has.
struct HandedOver {
    link: SuccessorLink,
    sockets: (watch::Sender<Arc<UnixListener>>, Sockets),
    pods: Option<Arc<PodListeners>>,
    /// The events from the agent before this one, which are passed on.
    predecessor_events: Option<PredecessorEvents>,
}

impl HandedOver {
    /// Has the connections move to the successor, and serves them until they are closed or SIGTERM comes.
    /// Returns whether SIGTERM came.
    async fn linger(self, connections: &Connections, agent: &Agent, signals: &mut Signals) -> bool {
        let Self { link, sockets, pods, predecessor_events } = self;
        info!(
            successor = link.pid,
            connections = connections.count(),
            "handed over; serving the open connections until they close"
        );
        if let Some(pid) = link.pid {
            systemd::succeeded_by(pid);
        }
        let telling = tokio::spawn(link.send_updates());
        connections.drain(Drain::HandOver);
        let last = sockets.0.borrow().clone();
        // Callers may have looked the old socket up just before it was replaced.
        tokio::time::timeout(takeover::LAST_CALLERS, connections.accept(&last)).await.ok();
        drop((last, sockets));
        pods.inspect(|pods| pods.end());
        let gone = async {
            connections.drained().await;
            if let Some(predecessor_events) = predecessor_events {
                predecessor_events.await.ok();
            }
            agent.leases().end_events();
            telling.await.ok();
        };
        tokio::select! {
            gone = tokio::time::timeout(takeover::LINGER, gone) => {
                if gone.is_err() {
                    warn!(
                        connections = connections.count(),
                        "some connections are still open; ending anyway"
                    );
                }
                let pending = agent.leases().pending_changes();
                if pending > 0 {
                    warn!(
                        leases = pending,
                        "the agent that took over did not read every event: there, these leases \
                         end when their time is over"
                    );
                }
                false
            }
            () = signals.terminated() => true,
        }
    }
}

/// The sources, for the admin pages.
/// The admin listener from the other agent, or a new one.
fn inherited(
    address: SocketAddr,
    successor: Option<&mut Successor>,
) -> Result<TcpListener, StartError> {
    let handed = successor.and_then(|successor| successor.admin.take());
    match handed.filter(|admin| admin.local_addr().is_ok_and(|its| its == address)) {
        Some(admin) => Ok(admin),
        // The other agent may have ended by now.
        None => admin::bind_as_successor(address)
            .map_err(|reason| StartError::Admin { address, reason }),
    }
}

/// Notifies systemd when every source has answered. A source logs its own problems.
async fn tell_when_ready(catalog: Arc<Catalog>, mut listening: watch::Receiver<bool>) {
    // The sender lives in the catalog, so that waiting can't fail.
    if catalog.changes().wait_for(|_| catalog.synced()).await.is_ok() {
        info!(services = catalog.list(None).len(), "every source has answered");
    }
    if listening.wait_for(|&listening| listening).await.is_ok() {
        systemd::ready();
    }
}
