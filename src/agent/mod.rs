//! Wires a process: what starts in which order, when it is ready, how it ends.
//!
//! | thread | what it does |
//! |---|---|
//! | main | starts everything, accepts connections, hears signals and who takes over |
//! | tokio, two workers | the socket's calls, leases' ends, sources |
//! | publish | adds counters up, writes tables; real time, so no async task beside it |
//! | admin | the pages for Kubernetes and Prometheus, on a runtime of their own |
//!
//! Order: the socket's lock first, since whoever lacks it must not touch anything; then the admin
//! address, the publishing, what was last known good, the sources; at last the socket, so that
//! whoever can connect is served. An agent that takes over has the lock handed to it, once its
//! sources have answered.
//!
//! - [`activation`]: a listening socket that was passed; `sockets`: those that are made
//! - [`takeover`]: one agent after another, without a pick that fails
//! - [`signals`], [`reload`]: what is told while it runs; [`manager`]: what it tells systemd
//! - [`logs`]: what it says

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{net::UnixListener, runtime::Runtime, sync::watch};
use tracing::{error, info, warn};

use self::{
    activation::Passed,
    reload::Reload,
    signals::{Signals, Told},
    sockets::Sockets,
    takeover::{Giver, Hearing, Heir, Successor, TakeoverError},
};
use crate::{
    catalog::{Catalog, SourceId},
    plan::Here,
    policy::ConfigPolicies,
    publish::Tables,
    serve::{
        Agent,
        access::Access,
        address::SocketAddress,
        admin,
        claim::{Claim, ClaimError},
        connections::{Connections, GRACE, Leave},
        front::Front,
        metrics::Series,
    },
    source::{self, Spec, Status},
    state::{Keeper, Origins},
};

pub mod activation;
pub mod logs;
pub mod manager;
pub mod reload;
pub mod signals;
mod sockets;
pub mod takeover;

/// Threads for the socket's calls. A pick takes microseconds; more threads would only take cores
/// from the programs that this node is there for.
const WORKERS: usize = 2;

/// All that an agent is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where services come from; the first that knows one owns it.
    pub sources: Vec<Spec>,
    /// Where to listen.
    pub socket: SocketAddress,
    /// The socket's permissions.
    pub socket_mode: u32,
    /// The socket's group; none: the agent's own.
    pub socket_group: Option<u32>,
    /// Where the admin pages are.
    pub admin: SocketAddr,
    /// Where this node is.
    pub here: Here,
    /// Folder for what outlives the agent.
    pub state: Option<PathBuf>,
    /// Take the socket over from the agent that serves it.
    pub takeover: bool,
    /// What was configured of services' policies.
    pub policies: ConfigPolicies,
    /// What is logged.
    pub log: String,
    /// Who may ask for what.
    pub access: Access,
    /// Whether there are metrics of single endpoints.
    pub endpoint_metrics: bool,
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket can't be had.
    #[error(transparent)]
    Socket(#[from] ClaimError),
    /// The address of the admin pages can't be had.
    #[error("admin address {address}: {reason}; choose another with --admin")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// As the kernel says.
        reason: io::Error,
    },
    /// What was passed is another socket.
    #[error("the socket that was passed ($LISTEN_FDS) is {passed}, and --socket says {asked}")]
    AnotherSocket {
        /// The socket that was passed.
        passed: PathBuf,
        /// The socket to serve.
        asked: SocketAddress,
    },
    /// The agent that serves it does not hand over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The system gave no thread, signal or descriptor.
    #[error("starting {what}: {reason}")]
    System {
        /// What was started.
        what: &'static str,
        /// As the kernel says.
        reason: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |reason| StartError::System { what, reason }
}

/// Serves until SIGTERM or SIGINT, or until another agent has taken over. `passed`: a listening
/// socket of who started it.
///
/// # Errors
/// When something needed is missing or taken; nothing was served then.
pub fn run(options: Options, passed: Option<Passed>, reload: Reload) -> Result<(), StartError> {
    let files = allow_more_files();
    if let Some(passed) = passed.as_ref().filter(|passed| passed.path != options.socket.path()) {
        let (passed, asked) = (passed.path.clone(), options.socket);
        return Err(StartError::AnotherSocket { passed, asked });
    }
    let right = match Claim::take_with(&options.socket, passed.is_some()) {
        Ok(claim) => Right::Own(claim),
        Err(ClaimError::Live { pid, .. }) if options.takeover => Right::Of(pid),
        Err(error) => return Err(error.into()),
    };
    let admin = match admin::bind(options.admin) {
        Ok(admin) => Some(admin),
        // It is probably that of the agent before, which hands it on.
        Err(reason)
            if matches!(right, Right::Of(_)) && reason.kind() == io::ErrorKind::AddrInUse =>
        {
            None
        }
        Err(reason) => return Err(StartError::Admin { address: options.admin, reason }),
    };
    let runtime = runtime().map_err(system("the runtime"))?;
    let seed = seed();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        zone = options.here.zone.as_deref(),
        seed,
        files,
        "starting"
    );

    let (end, ending) = watch::channel(false);
    let parts = Parts::start(options, reload, seed, ending, &runtime)?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(system("the signal handlers"))?;
        let serving = tokio::select! {
            serving = Serving::start(&parts, right, admin, passed) => serving?,
            () = signals.end() => return Ok(None),
        };
        serving.serve(&parts, signals).await.map(Some)
    });
    end.send_replace(true);
    // What is still running now has had its time.
    runtime.shutdown_background();
    parts.tables.stop();
    let claim = served?;
    if let (Some(keeper), Some(_)) = (&parts.keeper, &claim) {
        keeper.write();
    }
    // At last: from here on another agent may have the socket.
    drop(claim);
    info!("ended");
    Ok(())
}

/// Whose the socket is when the agent starts.
enum Right {
    /// This agent's.
    Own(Claim),
    /// That of another one, of this pid.
    Of(String),
}

/// What runs whether it serves yet or not.
struct Parts {
    options: Options,
    reload: Reload,
    catalog: Arc<Catalog>,
    tables: Tables,
    agent: Arc<Agent>,
    origins: Origins,
    keeper: Option<Keeper>,
    sources: Vec<(Spec, Status)>,
}

impl Parts {
    fn start(
        options: Options,
        reload: Reload,
        seed: u32,
        ending: watch::Receiver<bool>,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let names: Vec<String> = options.sources.iter().map(Spec::to_string).collect();
        let catalog = Arc::new(Catalog::new(names.iter().cloned()));
        let tables =
            Tables::start(catalog.clone(), options.policies.clone(), options.here.clone(), seed)
                .map_err(system("the publishing thread"))?;
        let origins = Origins { sources: names, catalog: catalog.clone(), tables: tables.clone() };
        let keeper = options.state.as_deref().map(|folder| Keeper::load(folder, origins.clone()));
        // Before the first source speaks, so that it has the last word.
        let sources = start_sources(&options, &catalog, &ending, runtime);
        let agent = Arc::new(Agent::new(catalog.clone(), tables.clone(), options.access.clone()));
        let (leases, holds) = (agent.leases().clone(), catalog.clone());
        runtime.spawn(async move { leases.run().await });
        runtime.spawn(async move { holds.end_holds().await });
        runtime.spawn(manager::watchdog());
        Ok(Self { options, reload, catalog, tables, agent, origins, keeper, sources })
    }
}

/// An agent that has the socket.
struct Serving {
    claim: Claim,
    sockets: Sockets,
    listener: watch::Sender<Arc<UnixListener>>,
    door: UnixListener,
    admin: TcpListener,
    pages: JoinHandle<()>,
    end_pages: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    hearing: Option<Hearing>,
}

impl Serving {
    async fn start(
        parts: &Parts,
        right: Right,
        admin: Option<TcpListener>,
        passed: Option<Passed>,
    ) -> Result<Self, StartError> {
        let Parts { options, agent, .. } = parts;
        let (claim, mut heir) = match right {
            Right::Own(claim) => (claim, None),
            Right::Of(pid) => takeover::take(&options.socket, pid, &parts.origins, agent).await?,
        };
        let admin = match admin {
            Some(admin) => admin,
            None => inherited(options.admin, heir.as_mut())?,
        };
        let (listening, listens) = watch::channel(false);
        let (end_pages, ending) = watch::channel(false);
        let told = admin::Told {
            agent: agent.clone(),
            tables: parts.tables.clone(),
            sources: parts.sources.clone(),
            listening: listens.clone(),
            settings: settings(options),
            series: Series { endpoints: options.endpoint_metrics },
        };
        let same = admin.try_clone().map_err(system("the admin pages"))?;
        let pages = admin::spawn(same, told, ending).map_err(system("the admin thread"))?;

        let passed = passed.map(|passed| passed.listener);
        let passed = passed.or_else(|| heir.as_mut().and_then(|heir| heir.socket.take()));
        let sockets = Sockets::new(options.socket_mode, options.socket_group, passed);
        let (made, door) = sockets.put_back(&claim)?;
        let socket = match made {
            Some(socket) => Some(socket),
            None => sockets.passed()?,
        };
        let (Some(socket), Some(door)) = (socket, door) else {
            let reason = io::Error::other("it is in place already");
            return Err(StartError::System { what: "the socket", reason });
        };
        claim.sign()?;
        listening.send_replace(true);
        tokio::spawn(tell_when_ready(parts.catalog.clone(), listens));
        let hearing = match heir {
            Some(heir) => Some(heir.serves(agent.clone()).await),
            None => None,
        };
        if let Some(keeper) = parts.keeper.clone() {
            tokio::spawn(async move { keeper.run().await });
        }
        let admin_address = admin.local_addr().map_err(system("the admin pages"))?;
        info!(socket = %options.socket, admin = %admin_address, "listening");
        let listener = watch::Sender::new(Arc::new(socket));
        Ok(Self { claim, sockets, listener, door, admin, pages, end_pages, listening, hearing })
    }

    /// Gives the claim back, unless another agent has it now.
    async fn serve(self, parts: &Parts, mut signals: Signals) -> Result<Option<Claim>, StartError> {
        let Self { claim, sockets, listener, door, admin, pages, end_pages, listening, hearing } =
            self;
        let connections = Connections::new(Front::new(parts.agent.clone()));
        let successor = {
            let giver = Giver {
                claim: &claim,
                sockets: &sockets,
                admin: &admin,
                keeper: parts.keeper.as_ref(),
                origins: &parts.origins,
                agent: &parts.agent,
                listener: &listener,
            };
            let mut giving = std::pin::pin!(giver.give(door));
            let mut accepting = std::pin::pin!(accept(&connections, listener.subscribe()));
            loop {
                tokio::select! {
                    () = &mut accepting => {}
                    told = signals.next() => match told {
                        Told::End => break None,
                        Told::Reload => {
                            let sources = parts.sources.iter().map(|(_, status)| status);
                            parts.reload.again(&parts.options, &parts.tables, sources);
                        }
                    },
                    successor = &mut giving => break Some(successor),
                }
            }
        };
        listening.send_replace(false);
        end_pages.send_replace(true);
        let claim = match successor {
            None => {
                manager::stopping();
                // Whoever connects from here on is refused, and may come back to the next agent.
                drop((listener, sockets));
                signals.then_at_once();
                Some(claim)
            }
            Some(successor) => {
                drop(claim);
                let handed = Handed { successor, sockets: (listener, sockets), hearing };
                handed.linger(&connections, &parts.agent, signals).await;
                None
            }
        };
        connections.leave(Leave::End);
        let open = connections.count();
        if tokio::time::timeout(GRACE, connections.gone()).await.is_err() {
            warn!(connections = open, "requests took too long to finish; ending anyway");
        }
        if pages.join().is_err() {
            error!("the admin thread panicked");
        }
        Ok(claim)
    }
}

/// Accepts on whichever socket is in place.
async fn accept(connections: &Connections, mut listener: watch::Receiver<Arc<UnixListener>>) {
    loop {
        let current = listener.borrow_and_update().clone();
        tokio::select! {
            () = connections.accept(&current) => {}
            changed = listener.changed() => if changed.is_err() { return },
        }
    }
}

/// An agent whose socket another one has.
struct Handed {
    successor: Successor,
    sockets: (watch::Sender<Arc<UnixListener>>, Sockets),
    /// What the agent before this one still tells; it is passed on.
    hearing: Option<Hearing>,
}

impl Handed {
    /// Sends those who are connected over to the successor, and serves them until they go.
    async fn linger(self, connections: &Connections, agent: &Agent, mut signals: Signals) {
        let Self { successor, sockets, hearing } = self;
        info!(
            successor = successor.pid,
            connections = connections.count(),
            "handed over; serving who is connected until they go"
        );
        if let Some(pid) = successor.pid {
            manager::succeeded_by(pid);
        }
        let telling = tokio::spawn(successor.tell());
        connections.leave(Leave::Move);
        let last = sockets.0.borrow().clone();
        // They may have come before the other socket was there, and find this one's end otherwise.
        tokio::time::timeout(takeover::LAST_CALLERS, connections.accept(&last)).await.ok();
        drop((last, sockets));
        let gone = async {
            connections.gone().await;
            if let Some(hearing) = hearing {
                hearing.await.ok();
            }
            // What is not said by now will not be.
            agent.leases().keep();
            telling.await.ok();
        };
        tokio::select! {
            gone = tokio::time::timeout(takeover::LINGER, gone) => if gone.is_err() {
                warn!(connections = connections.count(), "they stay connected; ending all the same");
            },
            () = signals.end() => {}
        }
        signals.then_at_once();
    }
}

/// The admin address, as the agent before hands it on.
fn inherited(address: SocketAddr, heir: Option<&mut Heir>) -> Result<TcpListener, StartError> {
    let handed = heir.and_then(|heir| heir.admin.take());
    match handed.filter(|admin| admin.local_addr().is_ok_and(|its| its == address)) {
        Some(admin) => Ok(admin),
        // Whoever had it may be gone by now.
        None => admin::bind(address).map_err(|reason| StartError::Admin { address, reason }),
    }
}

/// As the admin page shows them.
fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or("not set").to_owned();
    let sources: Vec<_> = options.sources.iter().map(Spec::to_string).collect();
    let state = options.state.as_ref().map(|folder| folder.display().to_string());
    vec![
        ("socket", format!("{}, mode {:04o}", options.socket, options.socket_mode)),
        ("sources", sources.join(", ")),
        ("zone", text(&options.here.zone)),
        ("region", text(&options.here.region)),
        ("node", text(&options.here.node)),
        ("state", state.unwrap_or_else(|| "not kept".to_owned())),
        (
            "access",
            match options.access.0.len() {
                0 => "everyone, all namespaces".to_owned(),
                entries => format!("{entries} entries"),
            },
        ),
        (
            "policies",
            format!(
                "{} services, {} namespaces",
                options.policies.services.len(),
                options.policies.namespaces.len()
            ),
        ),
        ("process", std::process::id().to_string()),
    ]
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("serve")
        .enable_all()
        .build()
}

/// As many files as the system lets this process have: connections and tables each take some.
fn allow_more_files() -> Option<u64> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        warn!(%error, "the limit on open files stays");
    }
    getrlimit(Resource::Nofile).current
}

/// Of all picks; logged, so that a run can be repeated.
fn seed() -> u32 {
    getrandom::u32().unwrap_or_else(|error| {
        warn!(%error, "no random numbers from the system: picks follow a fixed sequence");
        1
    })
}

fn start_sources(
    options: &Options,
    catalog: &Arc<Catalog>,
    ending: &watch::Receiver<bool>,
    runtime: &Runtime,
) -> Vec<(Spec, Status)> {
    let start = |(index, spec): (usize, &Spec)| {
        let status = Status::default();
        let mut ending = ending.clone();
        let cancelled = async move {
            // An error means that the sender is gone, which is an end as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        runtime.spawn(source::run(
            spec.clone(),
            options.here.node.clone(),
            SourceId(index),
            catalog.clone(),
            status.clone(),
            cancelled,
        ));
        (spec.clone(), status)
    };
    options.sources.iter().enumerate().map(start).collect()
}

/// Says when every source has answered; what is wrong with one it says itself.
async fn tell_when_ready(catalog: Arc<Catalog>, mut listening: watch::Receiver<bool>) {
    // The sender lives in the catalog, so that waiting can't fail.
    if catalog.changes().wait_for(|_| catalog.synced()).await.is_ok() {
        info!(services = catalog.list(None).len(), "every source has answered");
    }
    if listening.wait_for(|&listening| listening).await.is_ok() {
        manager::ready();
    }
}
