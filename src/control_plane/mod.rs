//! The control plane's process: services from their sources, published by xDS.
//!
//! - [`listen`]: its address, a Unix socket or TCP; `connections`: accepts clients, within bounds
//! - `service`: the methods of the aggregated and the endpoint discovery service; `stream`: one stream
//!   of responses; `response_body`: their bytes; `machine`: the two variants of the protocol
//! - `streams`: the open ones; `metrics`: what is counted; `type_label`: the types that both name
//! - `pages`: the admin pages; `clients_page`: what each client holds

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use tokio::{runtime::Handle, sync::watch};
use tracing::info;

use self::{
    connections::Connections,
    listen::{Bound, Listen, ListenError},
    metrics::Metrics,
    pages::Pages,
};
use crate::{
    agent::{allow_more_files, signals::Signals, source_status},
    catalog::{Catalog, Locality},
    discovery::Snapshot,
    serve::admin,
    source::{self, Spec},
};

mod clients_page;
mod connections;
pub mod listen;
mod machine;
mod metrics;
mod pages;
mod response_body;
mod service;
mod stream;
mod streams;
mod type_label;

/// Threads for streams. Encoding is shared, so that a response costs a copy.
const WORKERS: usize = 2;

/// The options of a control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sources of services; the first that knows a service owns it.
    pub sources: Vec<Spec>,
    pub listen: Listen,
    /// The address of the admin pages.
    pub admin: SocketAddr,
}

/// Why a control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of the admin pages is not available.
    #[error("admin address {address}: {reason}; choose another with --admin")]
    Admin { address: SocketAddr, reason: io::Error },
    /// The system refused a thread, a signal handler or a descriptor.
    #[error("cannot start {what}: {reason}")]
    System { what: &'static str, reason: io::Error },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |reason| StartError::System { what, reason }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Something that the control plane needs is missing or in use. Nothing was served then.
pub fn run(options: &Options) -> Result<(), StartError> {
    allow_more_files();
    let bound = options.listen.bind()?;
    let admin = admin::bind_as_successor(options.admin)
        .map_err(|reason| StartError::Admin { address: options.admin, reason })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("streams")
        .enable_all()
        .build()
        .map_err(system("the runtime"))?;
    let (end, ending) = watch::channel(false);
    let served = runtime.block_on(serve(options, bound, admin, ending));
    end.send_replace(true);
    runtime.shutdown_background();
    served?;
    info!("ended");
    Ok(())
}

async fn serve(
    options: &Options,
    bound: Bound,
    admin: TcpListener,
    ending: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let mut signals = Signals::listen().map_err(system("the signal handlers"))?;
    let names: Vec<String> = options.sources.iter().map(Spec::to_string).collect();
    let catalog = Arc::new(Catalog::new(names));
    let snapshot = Snapshot::follow(&catalog);
    let holds = catalog.clone();
    tokio::spawn(async move { holds.end_holds().await });
    // It runs on no node.
    let nowhere = watch::Sender::new(Locality::default());
    let sources = source::start(&options.sources, &nowhere, &catalog, &ending, &Handle::current());
    let metrics = Arc::new(Metrics::default());
    let pages = Pages {
        catalog: catalog.clone(),
        snapshot: snapshot.clone(),
        metrics: metrics.clone(),
        sources: source_status::shown(&sources),
    };
    let admin_address = admin.local_addr().map_err(system("the admin pages"))?;
    admin::spawn(admin, pages.routes(), ending).map_err(system("the admin thread"))?;
    let address = bound.address();
    let acceptor = bound.acceptor().map_err(system("the listening socket"))?;
    info!(listen = %address, admin = %admin_address, "listening");
    let connections = Connections::new(catalog, snapshot, metrics);
    tokio::select! {
        () = connections.accept(acceptor) => {}
        () = signals.terminated() => {}
    }
    Ok(())
}
