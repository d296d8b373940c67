//! The CSI plugin. It gives each pod a folder with a socket of its own, as a volume that the
//! kubelet asks this plugin to mount.
//!
//! - `plugin`: the calls of the Container Storage Interface (identity, mount, unmount); `proto`: their messages
//! - `volumes`: a pod's volume: its folder, and the mounts of it
//! - `mount`: mounts a pod's folder read-only
//! - `registration`: registers the plugin with the kubelet; `driver`: its name
//!
//! The agent needs no rights for this, and finds the folders by itself ([`crate::serve::pods`]).
//! This process needs only the right to mount: it reads no service and answers no application.

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

/// The plugin's options.
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
    /// A socket or a signal handler could not be created.
    #[error("{what}: {error}")]
    System {
        /// Which, for a person.
        what: String,
        /// The system's error.
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
    /// The kubelet refused the driver.
    #[error("the kubelet refuses the driver {DRIVER}: {0}")]
    Refused(String),
    /// A connection could not be served.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
}

/// Serves the kubelet until a signal ends it.
///
/// # Errors
/// A socket can't be created, or the kubelet refuses the driver.
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
    // Last, since from here on the kubelet may find the plugin.
    let registrations = Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(listen(&registry)?);
    info!(folder = %folder.display(), driver = DRIVER, "mounting for pods");
    let ended = tokio::select! {
        () = signals.terminated() => Ok(()),
        served = calls => served.map_err(Error::from),
        served = registrations => served.map_err(Error::from),
        Ok(reason) = refused => Err(Error::Refused(reason)),
    };
    // Without this socket the kubelet considers the plugin gone. Mounts stay.
    fs::remove_file(&registry).map_err(system(registry.display()))?;
    ended
}

/// Listens on a socket for the kubelet, which is root; replaces one that was left behind.
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
        // The kubelet sends the socket's path as the authority, which h2 refuses.
        Ok(UnixListenerStream::new(listener).map_ok(Mended::new))
    };
    bind().map_err(system(path.display()))
}

fn system(what: impl ToString) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::System { what: what.to_string(), error }
}
