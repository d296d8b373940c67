//! Wires a process: what starts in which order, when it is ready, how it ends.
//!
//! | thread | what it does |
//! |---|---|
//! | main | starts everything, accepts connections, hears signals and who takes over |
//! | tokio, two workers | the socket's calls, leases' ends, sources |
//! | publish | adds counters up, writes tables; real time, so no async task beside it |
//! | suggest | searches what was probably meant by a misspelt name; from the first one on |
//! | admin | the pages for Kubernetes and Prometheus, on a runtime of their own |
//!
//! Order: the socket's lock first, since whoever lacks it must not touch anything; then the admin
//! address, the publishing, what was last known good, the sources; at last the socket, so that
//! whoever can connect is served. An agent that takes over has the lock handed to it, once its
//! sources have answered.
//!
//! - `serving`: an agent that has the socket, up to its end
//! - [`activation`]: a listening socket that was passed; `sockets`: those that are made
//! - [`takeover`]: one agent after another, without a pick that fails
//! - [`signals`], [`reload`]: what is told while it runs; [`systemd`]: what it tells
//! - [`startup_taint`]: what its node registered with, until it is ready
//! - [`logs`]: what it says; `wrong_settings`: of settings that can't hold; `braked`: of services that
//!   lost much at once; `turns`: so that neither fills the log

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
    activation::Passed, reload::Reload, serving::Serving, signals::Signals,
    startup_taint::StartupTaint, takeover::TakeoverError,
};
use crate::{
    catalog::{Catalog, Locality, SourceId},
    policy::ConfigPolicies,
    publish::Tables,
    serve::{Agent, admin, resolver::access::Access},
    socket::{
        address::SocketAddress,
        lock::{Claim, ClaimError},
    },
    source::{
        self, Cluster, Spec, Status,
        kubernetes::events::{self, Events},
    },
    state::{Keeper, Origins, configuration},
};

pub mod activation;
mod braked;
pub mod logs;
pub mod reload;
mod serving;
pub mod signals;
mod sockets;
mod source_status;
pub mod startup_taint;
pub mod systemd;
pub mod takeover;
mod turns;
mod wrong_settings;

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
    pub here: Locality,
    /// What this node registered with, until its agent is ready.
    pub startup_taint: Option<StartupTaint>,
    /// Folder for what outlives the agent.
    pub state: Option<PathBuf>,
    /// Take the socket over from the agent that serves it.
    pub takeover: bool,
    /// Stay when another agent has taken over, until told to end.
    pub stay: bool,
    /// What was configured of services' policies.
    pub policies: ConfigPolicies,
    /// What is logged.
    pub log: String,
    /// Folder of the pods' own folders; none: no pod has one.
    pub pods: Option<PathBuf>,
    /// Who may ask for what.
    pub access: Access,
    /// Whether there are metrics of single endpoints.
    pub endpoint_metrics: bool,
    /// The cluster in which wrong settings are told by events on their Services, if any.
    pub events: Option<Cluster>,
    /// The configuration file, if there is one.
    pub file: File,
}

/// The configuration file that an agent was started with.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What is in it, where it holds.
    pub text: Option<String>,
    /// What is wrong with it, where an earlier one is in force.
    pub problem: Option<String>,
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
    /// An agent serves already, and by what is no worse.
    #[error(
        "the configuration is wrong, and an agent serves already (pid {pid}): it is left to serve; \
         {problem}"
    )]
    Configuration {
        /// The process of the other agent.
        pid: String,
        /// What is wrong.
        problem: String,
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
        Err(ClaimError::Live { pid, .. }) if options.takeover => match &options.file.problem {
            Some(problem) => {
                return Err(StartError::Configuration { pid, problem: problem.clone() });
            }
            None => Right::Of(pid),
        },
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

    if let Some(problem) = &options.file.problem {
        error!("the configuration is wrong, and the last good one is in force: {problem}");
    }

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
        runtime.spawn(braked::tell(catalog.clone(), catalog.follow_brake()));
        // Before the first source speaks, so that it has the last word.
        let sources = start_sources(&options, &catalog, &ending, &tables, runtime);
        warn_of_access(options.pods.as_deref(), &options.access);
        let agent = Arc::new(Agent::new(catalog.clone(), tables.clone(), options.access.clone()));
        agent.configuration().judge(options.file.problem.clone());
        let (leases, holds) = (agent.leases().clone(), catalog.clone());
        runtime.spawn(async move { leases.run().await });
        runtime.spawn(async move { holds.end_holds().await });
        runtime.spawn(systemd::watchdog());
        let events = options.events.clone().map(|cluster| {
            let (events, waiting) = Events::new(&cluster);
            runtime.spawn(events::write(cluster, options.here.node.clone(), waiting));
            events
        });
        runtime.spawn(wrong_settings::tell(catalog.clone(), tables.clone(), events));
        Ok(Self { options, reload, catalog, tables, agent, origins, keeper, sources })
    }
}

/// Keeps the configuration file for an agent that is started beside a wrong one.
fn keep_configuration(options: &Options) {
    let (Some(folder), Some(text)) = (&options.state, &options.file.text) else { return };
    if let Err(error) = configuration::write(folder, text) {
        warn!("the configuration can't be kept for the next start: {error}");
    }
}

/// An access that was written before pods were told apart lets none of them ask.
fn warn_of_access(pods: Option<&Path>, access: &Access) {
    if pods.is_some() && !access.knows_pods() {
        warn!("no entry of access fits a pod with a folder of its own: it may ask for nothing");
    }
}

/// As the admin page shows them.
fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let sources: Vec<_> = options.sources.iter().map(Spec::to_string).collect();
    let state = options.state.as_ref().map(|folder| folder.display().to_string());
    let pods = options.pods.as_ref().map(|folder| folder.display().to_string());
    vec![
        ("socket", format!("{}, mode {:04o}", options.socket, options.socket_mode)),
        ("sources", sources.join(", ")),
        ("state", state.unwrap_or_else(|| "not kept".to_owned())),
        ("pods", pods.unwrap_or_else(|| "not told apart: a caller is its uid".to_owned())),
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
    tables: &Tables,
    runtime: &Runtime,
) -> Vec<(Spec, Status)> {
    let here = watch::Sender::new(options.here.clone());
    runtime.spawn(follow_here(here.subscribe(), tables.clone()));
    let start = |(index, spec): (usize, &Spec)| {
        let status = Status::default();
        let mut ending = ending.clone();
        let cancelled = async move {
            // An error means that the sender is gone, which is an end as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        runtime.spawn(source::run(
            spec.clone(),
            here.clone(),
            SourceId(index),
            catalog.clone(),
            status.clone(),
            cancelled,
        ));
        (spec.clone(), status)
    };
    options.sources.iter().enumerate().map(start).collect()
}

/// Where the agent runs, as a source finds out.
async fn follow_here(mut here: watch::Receiver<Locality>, tables: Tables) {
    while here.changed().await.is_ok() {
        let found = here.borrow_and_update().clone();
        info!(zone = found.zone.as_deref(), region = found.region.as_deref(), "this node's place");
        tables.locate(found);
    }
}
