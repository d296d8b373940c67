//! Registers the plugin with the kubelet.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};
use tracing::{error, info};

use super::{
    driver::DRIVER,
    proto::registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server,
    },
};

/// The kubelet's name for CSI plugins.
const TYPE: &str = "CSIPlugin";
/// The CSI version.
const VERSION: &str = "1.0.0";

/// Answers the kubelet's registration calls.
pub(super) struct Registration {
    socket: PathBuf,
    refused: Mutex<Option<oneshot::Sender<String>>>,
}

impl Registration {
    /// For the plugin at this socket. The receiver gets the reason if the kubelet refuses it.
    pub(super) fn new(socket: PathBuf) -> (Self, oneshot::Receiver<String>) {
        let (refused, told) = oneshot::channel();
        (Self { socket, refused: Mutex::new(Some(refused)) }, told)
    }
}

#[tonic::async_trait]
impl registration_server::Registration for Registration {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: TYPE.to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.socket.display().to_string(),
            supported_versions: vec![VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error: reason } = request.into_inner();
        if plugin_registered {
            info!("the kubelet has registered this driver");
        } else {
            // After a restart the kubelet looks again; without one it would ignore this plugin.
            error!(reason, "the kubelet refuses this driver");
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(refused) = refused {
                refused.send(reason).ok();
            }
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
