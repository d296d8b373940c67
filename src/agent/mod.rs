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
//! - `options`, `components`: what an agent is started with, and its parts that need no socket;
//!   `start_error`: why it could not start
//! - `serving`: an agent that has the socket, until its end
//! - [`activation`]: a listening socket from systemd; `sockets`: the sockets that the agent makes
//! - [`takeover`]: one agent takes over from another, without a pick that fails
//! - [`signals`], [`reload`]: SIGTERM and SIGHUP; [`systemd`]: sd_notify
//! - [`startup_taint`]: removes the node's taint when the agent is ready
//! - [`logs`]: the log's format and filter; `wrong_settings`, `brake_log`: log lines about services;
//!   `fair_queue`: limits these lines, and shares them between namespaces

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{runtime::Runtime, sync::watch};
use tracing::{error, info, warn};

use self::{
    activation::PassedSocket,
    components::Components,
    reload::Reload,
    serving::{Serving, SocketOwner},
    signals::Signals,
    start_error::system,
};
use crate::{
    serve::admin,
    socket::lock::{SocketError, SocketLock},
};

pub use options::{File, Options};
pub use start_error::StartError;

pub mod activation;
mod brake_log;
mod components;
mod fair_queue;
pub mod logs;
mod options;
pub mod reload;
mod serving;
pub mod signals;
mod sockets;
pub(crate) mod source_status;
mod start_error;
pub mod startup_taint;
pub mod systemd;
pub mod takeover;
mod wrong_settings;

/// Threads for the socket's calls. A pick takes microseconds; more threads would only take cores
/// from the programs that this node is there for.
const WORKERS: usize = 2;

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
    let admin = match &owner {
        SocketOwner::ThisAgent(_) => admin::bind_as_successor(options.admin).map(Some),
        SocketOwner::OtherAgent(_) => match admin::bind(options.admin) {
            // Probably the other agent has it, and hands it over.
            Err(reason) if reason.kind() == io::ErrorKind::AddrInUse => Ok(None),
            bound => bound.map(Some),
        },
    };
    let admin = admin.map_err(|reason| StartError::Admin { address: options.admin, reason })?;
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

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("serve")
        .enable_all()
        .build()
}

/// Raises the limit on open files to its maximum: connections and tables each take some.
pub(crate) fn allow_more_files() -> Option<u64> {
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
