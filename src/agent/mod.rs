//! Wires a process: what starts in which order, when it is ready, how it ends.
//!
//! | thread | what it does |
//! |---|---|
//! | main | starts everything, waits for the signal to end |
//! | tokio, two workers | the socket's calls, leases' ends, sources |
//! | publish | adds counters up, writes tables; real time, so no async task beside it |
//! | admin | the pages for Kubernetes and Prometheus, on a runtime of their own |
//!
//! Order: the socket's lock first, since whoever lacks it must not touch anything; then the admin
//! address, the sources, the publishing; at last the socket, so that whoever can connect is served.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{runtime::Runtime, signal::unix, sync::watch};
use tracing::{error, info, warn};

use crate::{
    catalog::{Catalog, SourceId},
    plan::Here,
    policy::ConfigPolicies,
    publish::Tables,
    serve::{
        Agent,
        address::SocketAddress,
        admin,
        claim::{Claim, ClaimError},
        connections,
        front::Front,
        listener,
    },
    source::{self, Spec, Status},
    state::{Keeper, Origins},
};

pub mod logs;

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
    /// What was configured of services' policies.
    pub policies: ConfigPolicies,
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

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When something needed is missing or taken; nothing was served then.
pub fn run(options: Options) -> Result<(), StartError> {
    let claim = Claim::take(&options.socket)?;
    let admin = admin::bind(options.admin)
        .map_err(|reason| StartError::Admin { address: options.admin, reason })?;
    let admin_address = admin.local_addr().map_err(system("the admin pages"))?;
    let runtime = runtime().map_err(system("the runtime"))?;
    let seed = seed();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        zone = options.here.zone.as_deref(),
        seed,
        "starting"
    );

    let (end, ending) = watch::channel(false);
    let (listen, listening) = watch::channel(false);
    let catalog = Arc::new(Catalog::new(options.sources.iter().map(Spec::to_string)));
    let tables =
        Tables::start(catalog.clone(), options.policies.clone(), options.here.clone(), seed)
            .map_err(system("the publishing thread"))?;
    let keeper = options.state.as_deref().map(|folder| {
        let sources = options.sources.iter().map(Spec::to_string).collect();
        Keeper::load(
            folder,
            Origins { sources, catalog: catalog.clone(), tables: tables.clone() },
        )
    });
    // Before the first source speaks, so that it has the last word.
    let sources = start_sources(&options, &catalog, &ending, &runtime);
    let agent = Arc::new(Agent::new(catalog.clone(), tables.clone()));
    let leases = agent.leases().clone();
    runtime.spawn(async move { leases.run().await });
    runtime.spawn(tell_when_ready(catalog.clone()));
    if let Some(keeper) = keeper.clone() {
        runtime.spawn(async move { keeper.run().await });
    }
    runtime.spawn(async move { catalog.end_holds().await });
    let told = admin::Told {
        agent: agent.clone(),
        tables: tables.clone(),
        sources,
        listening,
        socket: options.socket.to_string(),
    };
    let pages = admin::spawn(admin, told, ending).map_err(system("the admin thread"))?;

    let served = runtime.block_on(async {
        let told_to_end = signals().map_err(system("the signal handlers"))?;
        let socket = listener::bind(&claim, options.socket_mode, options.socket_group)?;
        let socket = tokio::net::UnixListener::from_std(socket).map_err(system("the socket"))?;
        listen.send_replace(true);
        info!(socket = %options.socket, admin = %admin_address, "listening");
        let ended = async {
            told_to_end.await;
            listen.send_replace(false);
        };
        connections::serve(socket, Front::new(agent), ended).await;
        Ok(())
    });
    end.send_replace(true);
    // What is still running now has had its time.
    runtime.shutdown_background();
    tables.stop();
    if let Some(keeper) = keeper {
        keeper.write();
    }
    if pages.join().is_err() {
        error!("the admin thread panicked");
    }
    // At last: from here on another agent may have the socket.
    drop(claim);
    served.inspect(|()| info!("ended"))
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("serve")
        .enable_all()
        .build()
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
async fn tell_when_ready(catalog: Arc<Catalog>) {
    // The sender lives in the catalog, so that waiting can't fail.
    if catalog.changes().wait_for(|_| catalog.synced()).await.is_ok() {
        info!(services = catalog.list(None).len(), "every source has answered");
    }
}

/// Done with the first signal to end; a second one ends the process where it stands.
fn signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "ending: no more calls are taken, those under way may finish");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            warn!("told to end twice: ending at once");
            std::process::exit(1);
        });
    })
}
