//! The calls by which the kubelet has volumes mounted.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    DRIVER, mount,
    proto::csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
        GetPluginInfoResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
        NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
        NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
        ProbeRequest, ProbeResponse, VolumeCapability, identity_server, node_server,
        volume_capability::AccessType,
    },
};

/// Says whether a volume stands in the pod's own description: "true" or "false".
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// One folder, for as many pods as ask.
#[derive(Clone)]
pub(super) struct Plugin(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    node: String,
}

impl Plugin {
    /// For pods of this node.
    pub(super) fn new(folder: PathBuf, node: String) -> Self {
        Self(Arc::new(Inner { folder, node }))
    }
}

#[tonic::async_trait]
impl identity_server::Identity for Plugin {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetPluginInfoResponse { name: DRIVER.to_owned(), vendor_version }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse {}))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse {}))
    }
}

#[tonic::async_trait]
impl node_server::Node for Plugin {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let target = target(&request.volume_id, &request.target_path)?;
        mountable(request.volume_capability)?;
        ephemeral(&request.volume_context)?;
        let folder = &self.0.folder;
        mount::mount(folder, target).map_err(|error| {
            let (folder, target) = (folder.display(), target.display());
            Status::internal(format!("{folder} could not be mounted at {target}: {error}"))
        })?;
        info!(volume = request.volume_id, target = %target.display(), "mounted");
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let target = target(&request.volume_id, &request.target_path)?;
        mount::take_away(target).map_err(|error| {
            Status::internal(format!("{} could not be taken away: {error}", target.display()))
        })?;
        info!(volume = request.volume_id, target = %target.display(), "unmounted");
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse {}))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: self.0.node.clone() }))
    }
}

/// Where the volume is to be, if that can be meant.
fn target<'a>(volume: &str, path: &'a str) -> Result<&'a Path, Status> {
    if volume.is_empty() {
        return Err(Status::invalid_argument("volume_id is missing"));
    }
    let path = Path::new(path);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        let wrong = format!("target_path {path:?} is no absolute path without \"..\"");
        return Err(Status::invalid_argument(wrong));
    }
    Ok(path)
}

fn mountable(capability: Option<VolumeCapability>) -> Result<(), Status> {
    let wrong = match capability {
        None => "volume_capability is missing",
        Some(VolumeCapability { access_type: Some(AccessType::Mount(_)) }) => return Ok(()),
        Some(_) => "volume_capability is no mount: this volume is a folder",
    };
    Err(Status::invalid_argument(wrong))
}

fn ephemeral(context: &HashMap<String, String>) -> Result<(), Status> {
    match context.get(EPHEMERAL).map(String::as_str) {
        Some("true") | None => Ok(()),
        Some(_) => {
            let right =
                "write it into the pod, under volumes, as `csi: {driver: csi.pointsman.dev}`";
            Err(Status::invalid_argument(format!("this is no persistent volume: {right}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_leads_nowhere_else() {
        assert!(target("v", "/var/lib/kubelet/pods/x/mount").is_ok());
        for path in ["", "mount", "/pods/../etc", "./mount"] {
            let wrong = target("v", path).unwrap_err();
            assert!(wrong.message().contains("target_path"), "{path}: {wrong}");
        }
        assert!(target("", "/mount").unwrap_err().message().contains("volume_id"));
    }

    #[test]
    fn a_volume_is_a_folder_of_one_pod() {
        let context = |value: &str| HashMap::from([(EPHEMERAL.to_owned(), value.to_owned())]);
        assert!(ephemeral(&context("true")).is_ok());
        assert!(ephemeral(&context("false")).unwrap_err().message().contains("under volumes"));
        assert!(mountable(None).is_err());
    }
}
