//! The agent's process: its start-up order, its readiness and its end.
//!
//! | thread | task |
//! |---|---|
//! | main | starts everything, accepts connections, handles signals and take-overs |
//! | tokio, two workers | the socket's calls, the ends of leases, sources |
//! | publish | adds counters up and writes tables; it has deadlines, so that no async task runs on it |
//! | suggest | searches for similar names; it starts with the first misspelt name |
//! | admin | the pages for Kubernetes and Prometheus, on their own runtime |
//!
//! Start-up order: first the socket's lock, since an agent without it must not change anything; then
//! the admin address, the publish thread, the state, the sources; last the socket, so that every
//! caller that can connect is served. An agent that takes over gets the lock from the other agent,
//! after its own sources have answered.
//!
//! - `serving`: an agent that has the socket, until its end
//! - [`activation`]: a listening socket from systemd; `sockets`: the sockets that the agent makes
//! - [`takeover`]: one agent takes over from another, without a pick that fails
//! - [`signals`], [`reload`]: SIGTERM and SIGHUP; [`systemd`]: sd_notify
//! - [`startup_taint`]: removes the node's taint when the agent is ready
//! - [`logs`]: the log's format and filter; `wrong_settings`, `brake_log`: log lines about services;
//!   `fair_queue`: limits these lines, and shares them between namespaces

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{runtime::Runtime, sync::watch};
use tracing::{error, info, warn};

use self::{
    activation::PassedSocket, reload::Reload, serving::Serving, signals::Signals,
    startup_taint::StartupTaint, takeover::TakeoverError,
};
use crate::{
    catalog::{Catalog, Locality, SourceId},
    policy::ConfigPolicies,
    publish::Tables,
    serve::{Agent, admin, resolver::access::Access},
    socket::{
        address::SocketAddress,
        lock::{SocketError, SocketLock},
    },
    source::{
        self, Cluster, Spec, Status,
        kubernetes::events::{self, Events},
    },
    state::{Keeper, Origins, configuration},
};

pub mod activation;
mod brake_log;
mod fair_queue;
pub mod logs;
pub mod reload;
mod serving;
pub mod signals;
mod sockets;
mod source_status;
pub mod startup_taint;
pub mod systemd;
pub mod takeover;
mod wrong_settings;

/// Threads for the socket's calls. A pick takes microseconds; more threads would only take cores
/// from the programs that this node is there for.
const WORKERS: usize = 2;

/// The options of an agent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sources of services; the first that knows a service owns it.
    pub sources: Vec<Spec>,
    pub socket: SocketAddress,
    pub socket_mode: u32,
    /// The socket's group; `None`: the agent's own.
    pub socket_group: Option<u32>,
    /// The address of the admin pages.
    pub admin: SocketAddr,
    /// This node's zone, region and name.
    pub locality: Locality,
    /// The taint to remove from this node when the agent is ready.
    pub startup_taint: Option<StartupTaint>,
    /// The folder for state that outlives the agent.
    pub state: Option<PathBuf>,
    /// Take the socket over from the agent that serves it.
    pub takeover: bool,
    /// After a take-over by another agent, stay until SIGTERM.
    pub stay: bool,
    /// The configured policies of services.
    pub policies: ConfigPolicies,
    pub log: String,
    /// The folder of the pods' folders; `None`: pods have none.
    pub pods: Option<PathBuf>,
    pub access: Access,
    /// Whether there are metrics of single endpoints.
    pub endpoint_metrics: bool,
    /// The cluster that gets Events for wrong settings of its Services, if any.
    pub events: Option<Cluster>,
    /// The configuration file, if there is one.
    pub file: File,
}

/// The configuration file that an agent was started with.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its text, if it is valid.
    pub text: Option<String>,
    /// Its problem, if an earlier one is in force.
    pub problem: Option<String>,
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket is not available.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address of the admin pages is not available.
    #[error("admin address {address}: {reason}; choose another with --admin")]
    Admin { address: SocketAddr, reason: io::Error },
    /// The socket that was passed has another path.
    #[error(
        "the passed socket ($LISTEN_FDS) is {passed}, but --socket is {asked}: give both the same \
         path"
    )]
    AnotherSocket {
        /// The socket that was passed.
        passed: PathBuf,
        asked: SocketAddress,
    },
    /// The configuration is wrong, and another agent already serves.
    #[error(
        "the configuration is wrong, so the running agent (pid {pid}) continues to serve; {problem}"
    )]
    Configuration {
        /// The process of the other agent.
        pid: String,
        problem: String,
    },
    /// The other agent does not hand over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The system refused a thread, a signal handler or a descriptor.
    #[error("cannot start {what}: {reason}")]
    System { what: &'static str, reason: io::Error },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |reason| StartError::System { what, reason }
}

/// Serves until SIGTERM or SIGINT, or until another agent has taken over. `passed`: a listening socket
/// from the parent process.
///
/// # Errors
/// Something that the agent needs is missing or in use. Nothing was served then.
pub fn run(
    options: Options,
    passed: Option<PassedSocket>,
    reload: Reload,
) -> Result<(), StartError> {
    let files = allow_more_files();
    if let Some(passed) = passed.as_ref().filter(|passed| passed.path != options.socket.path()) {
        let (passed, asked) = (passed.path.clone(), options.socket);
        return Err(StartError::AnotherSocket { passed, asked });
    }
    let owner = match SocketLock::acquire_with(&options.socket, passed.is_some()) {
        Ok(socket_lock) => SocketOwner::ThisAgent(socket_lock),
        Err(SocketError::Live { pid, .. }) if options.takeover => match &options.file.problem {
            Some(problem) => {
                return Err(StartError::Configuration { pid, problem: problem.clone() });
            }
            None => SocketOwner::OtherAgent(pid),
        },
        Err(error) => return Err(error.into()),
    };
    let admin = match admin::bind(options.admin) {
        Ok(admin) => Some(admin),
        // Probably the other agent has it, and hands it over.
        Err(reason)
            if matches!(owner, SocketOwner::OtherAgent(_))
                && reason.kind() == io::ErrorKind::AddrInUse =>
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
        zone = options.locality.zone.as_deref(),
        seed,
        files,
        "starting"
    );

    if let Some(problem) = &options.file.problem {
        error!("the configuration is wrong, and the last good one is in force: {problem}");
    }

    let (end, ending) = watch::channel(false);
    let components = Components::start(options, reload, seed, ending, &runtime)?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(system("the signal handlers"))?;
        let serving = tokio::select! {
            serving = Serving::start(&components, owner, admin, passed) => serving?,
            () = signals.terminated() => return Ok(None),
        };
        serving.serve(&components, signals).await.map(Some)
    });
    end.send_replace(true);
    // Tasks that still run have had their time.
    runtime.shutdown_background();
    components.tables.stop();
    let socket_lock = served?;
    if let (Some(keeper), Some(_)) = (&components.keeper, &socket_lock) {
        keeper.write();
    }
    // Last, since another agent may have the socket from here on.
    drop(socket_lock);
    info!("ended");
    Ok(())
}

/// Which agent has the socket at the start.
enum SocketOwner {
    ThisAgent(SocketLock),
    /// Another agent has it; its pid.
    OtherAgent(String),
}

/// The parts of an agent that run before it has the socket, too.
struct Components {
    options: Options,
    reload: Reload,
    catalog: Arc<Catalog>,
    tables: Tables,
    agent: Arc<Agent>,
    origins: Origins,
    keeper: Option<Keeper>,
    sources: Vec<(Spec, Status)>,
}

impl Components {
    fn start(
        options: Options,
        reload: Reload,
        seed: u32,
        ending: watch::Receiver<bool>,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let names: Vec<String> = options.sources.iter().map(Spec::to_string).collect();
        let catalog = Arc::new(Catalog::new(names.iter().cloned()));
        let tables = Tables::start(
            catalog.clone(),
            options.policies.clone(),
            options.locality.clone(),
            seed,
        )
        .map_err(system("the publishing thread"))?;
        let origins = Origins { sources: names, catalog: catalog.clone(), tables: tables.clone() };
        let keeper = options.state.as_deref().map(|folder| Keeper::load(folder, origins.clone()));
        runtime.spawn(brake_log::run(catalog.clone(), catalog.follow_brake()));
        // Started after the state is loaded, so that the sources overwrite it.
        let sources = start_sources(&options, &catalog, &ending, &tables, runtime);
        warn_of_access(options.pods.as_deref(), &options.access);
        let agent = Arc::new(Agent::new(catalog.clone(), tables.clone(), options.access.clone()));
        agent.configuration().set_problem(options.file.problem.clone());
        let (leases, holds) = (agent.leases().clone(), catalog.clone());
        runtime.spawn(async move { leases.run().await });
        runtime.spawn(async move { holds.end_holds().await });
        runtime.spawn(systemd::watchdog());
        let events = options.events.clone().map(|cluster| {
            let (events, waiting) = Events::new(&cluster);
            runtime.spawn(events::write(cluster, options.locality.node.clone(), waiting));
            events
        });
        runtime.spawn(wrong_settings::run(catalog.clone(), tables.clone(), events));
        Ok(Self { options, reload, catalog, tables, agent, origins, keeper, sources })
    }
}

/// Keeps the configuration for a later agent whose file is wrong.
fn keep_configuration(options: &Options) {
    let (Some(folder), Some(text)) = (&options.state, &options.file.text) else { return };
    if let Err(error) = configuration::write(folder, text) {
        warn!("the configuration could not be saved for the next start: {error}");
    }
}

/// Access rules for uids only let no pod with its own folder ask.
fn warn_of_access(pods: Option<&Path>, access: &Access) {
    if pods.is_some() && !access.knows_pods() {
        warn!(
            "no entry of access is for pods: a pod with a folder of its own may not ask for any \
             service"
        );
    }
}

/// The options for the admin page.
fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let sources: Vec<_> = options.sources.iter().map(Spec::to_string).collect();
    let state = options.state.as_ref().map(|folder| folder.display().to_string());
    let pods = options.pods.as_ref().map(|folder| folder.display().to_string());
    vec![
        ("socket", format!("{}, mode {:04o}", options.socket, options.socket_mode)),
        ("sources", sources.join(", ")),
        ("state", state.unwrap_or_else(|| "not kept".to_owned())),
        (
            "pods",
            pods.unwrap_or_else(|| "no folders: the agent knows a caller by its uid".to_owned()),
        ),
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
                options.policies.base.services.len(),
                options.policies.base.namespaces.len()
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

/// Raises the limit on open files to its maximum: connections and tables each take some.
fn allow_more_files() -> Option<u64> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        warn!(%error, "the limit on open files could not be raised");
    }
    getrlimit(Resource::Nofile).current
}

/// The seed of all picks. It is logged, so that a run can be repeated.
fn seed() -> u32 {
    getrandom::u32().unwrap_or_else(|error| {
        warn!(%error, "the system gives no random numbers: picks follow a fixed sequence");
        1
    })
}

fn start_sources(
    options: &Options,
    catalog: &Arc<Catalog>,
    ending: &watch::Receiver<bool>,
    tables: &Tables,
    runtime: &Runtime,
) -> Vec<(Spec, Status)> {
    let locality = watch::Sender::new(options.locality.clone());
    runtime.spawn(follow_locality(locality.subscribe(), tables.clone()));
    let start = |(index, spec): (usize, &Spec)| {
        let status = Status::default();
        let mut ending = ending.clone();
        let cancelled = async move {
            // An error means that the sender is gone, which ends the source as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        runtime.spawn(source::run(
            spec.clone(),
            locality.clone(),
            SourceId(index),
            catalog.clone(),
            status.clone(),
            cancelled,
        ));
        (spec.clone(), status)
    };
    options.sources.iter().enumerate().map(start).collect()
}

/// Follows the node's zone and region, which a source finds out.
async fn follow_locality(mut locality: watch::Receiver<Locality>, tables: Tables) {
    while locality.changed().await.is_ok() {
        let found = locality.borrow_and_update().clone();
        info!(
            zone = found.zone.as_deref(),
            region = found.region.as_deref(),
            "this node's zone and region"
        );
        tables.locate(found);
    }
}
