//! How a pod gets a folder with a socket of its own: as a volume of our own kind, which the kubelet has
//! us mount.
//!
//! - `plugin`: the calls of the Container Storage Interface: who we are, mount this, unmount that
//! - `volumes`: what a pod's volume is: its folder, and mounts of it
//! - `mount`: a pod's folder, read-only, at a path of that pod
//! - `registration`: how the kubelet comes to know us
//!
//! The agent needs no rights for any of this, and finds the folders by itself
//! ([`crate::serve::pods`]). This process needs the right to mount, and nothing else: it reads no
//! service and answers no application.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use futures_util::{Stream, TryStreamExt};
use mend_authority::Mended;
use tokio::net::{UnixListener, UnixStream};
use tonic::{codegen::tokio_stream::wrappers::UnixListenerStream, transport::Server};
use tracing::info;

pub use self::driver::DRIVER;
use self::{
    plugin::Plugin,
    proto::{
        csi::{identity_server::IdentityServer, node_server::NodeServer},
        registration::registration_server::RegistrationServer,
    },
    registration::Registration,
    volumes::Volumes,
};
use crate::agent::signals::Signals;

mod driver;
mod mount;
mod plugin;
mod proto;
mod registration;
mod volumes;

/// What the plugin is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the pods' folders.
    pub pods: PathBuf,
    /// The kubelet's own folder.
    pub kubelet: PathBuf,
    /// This node's name.
    pub node: String,
}

/// Why the plugin ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket or a signal could not be had.
    #[error("{what}: {error}")]
    System {
        /// Which, for a person.
        what: String,
        /// As the system says it.
        error: io::Error,
    },
    /// Nothing can be mounted.
    #[error("{folder}: {error}")]
    Volumes {
        /// The folder of the pods' folders.
        folder: PathBuf,
        /// Why.
        error: volumes::Error,
    },
    /// The kubelet said no.
    #[error("the kubelet refuses the driver {DRIVER}: {0}")]
    Refused(String),
    /// A connection could not be served.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
}

/// Serves the kubelet until it is told to end.
///
/// # Errors
/// A socket can't be had, or the kubelet refuses the driver.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut signals = Signals::listen().map_err(system("signals"))?;
    let socket = options.kubelet.join("plugins").join(DRIVER).join("csi.sock");
    let registry = options.kubelet.join("plugins_registry").join(format!("{DRIVER}-reg.sock"));
    let folder = options.pods;
    let volumes = Volumes::prepare(folder.clone());
    let volumes = volumes.map_err(|error| Error::Volumes { folder: folder.clone(), error })?;
    let calls = listen(&socket)?;
    let (registration, refused) = Registration::new(socket);
    let plugin = Plugin::new(volumes, options.node);
    let calls = Server::builder()
        .add_service(IdentityServer::new(plugin.clone()))
        .add_service(NodeServer::new(plugin))
        .serve_with_incoming(calls);
    // Last: from here on the kubelet may find us.
    let registrations = Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(listen(&registry)?);
    info!(folder = %folder.display(), driver = DRIVER, "mounting for pods");
    let ended = tokio::select! {
        () = signals.end() => Ok(()),
        served = calls => served.map_err(Error::from),
        served = registrations => served.map_err(Error::from),
        Ok(reason) = refused => Err(Error::Refused(reason)),
    };
    // The kubelet takes a plugin for gone when this socket is; what is mounted stays.
    fs::remove_file(&registry).map_err(system(registry.display()))?;
    ended
}

/// A socket for the kubelet, which is root, in place of one that was left.
fn listen(
    path: &Path,
) -> Result<impl Stream<Item = io::Result<Mended<UnixStream>>> + use<>, Error> {
    let bind = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        // The kubelet names the socket's path as the authority, which h2 refuses.
        Ok(UnixListenerStream::new(listener).map_ok(Mended::new))
    };
    bind().map_err(system(path.display()))
}

fn system(what: impl ToString) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::System { what: what.to_string(), error }
}
