//! The calls with which the kubelet mounts and unmounts volumes (CSI's Identity and Node services).

use std::{
    collections::HashMap,
    path::{Component, Path},
    sync::Arc,
};

use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    driver::DRIVER,
    proto::csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
        GetPluginInfoResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
        NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
        NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
        ProbeRequest, ProbeResponse, VolumeCapability, identity_server, node_server,
        volume_capability::AccessType,
    },
    volumes::Volumes,
};
use crate::identity::{Pod, PodUid};

/// Whether the volume is inline in the pod's spec: "true" or "false".
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// The kubelet's information on the pod, as the `CSIDriver` object requests.
const NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
const NAME: &str = "csi.storage.k8s.io/pod.name";
const UID: &str = "csi.storage.k8s.io/pod.uid";
const SERVICE_ACCOUNT: &str = "csi.storage.k8s.io/serviceAccount.name";

/// The plugin's calls; cheap to clone.
#[derive(Clone)]
pub(super) struct Plugin(Arc<Inner>);

struct Inner {
    volumes: Volumes,
    node: String,
}

impl Plugin {
    pub(super) fn new(volumes: Volumes, node: String) -> Self {
        Self(Arc::new(Inner { volumes, node }))
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
        let (uid, pod) = pod(&request.volume_context)?;
        self.0.volumes.mount(uid, &pod, target).map_err(|error| {
            let target = target.display();
            Status::internal(format!(
                "the folder of {pod} could not be mounted at {target}: {error}"
            ))
        })?;
        info!(volume = request.volume_id, %uid, target = %target.display(), "mounted for {pod}");
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let target = target(&request.volume_id, &request.target_path)?;
        self.0.volumes.unmount(target).map_err(|error| {
            Status::internal(format!("{} could not be unmounted: {error}", target.display()))
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

/// The path to mount at, if it is valid.
fn target<'a>(volume: &str, path: &'a str) -> Result<&'a Path, Status> {
    if volume.is_empty() {
        return Err(Status::invalid_argument("volume_id is missing"));
    }
    let path = Path::new(path);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        let wrong = format!("target_path {path:?} is not an absolute path without \"..\"");
        return Err(Status::invalid_argument(wrong));
    }
    Ok(path)
}

/// The pod that the volume is for.
fn pod(context: &HashMap<String, String>) -> Result<(PodUid, Pod), Status> {
    let said = |key: &str| match context.get(key) {
        Some(said) if !said.is_empty() => Ok(said.as_str()),
        _ => Err(Status::failed_precondition(format!(
            "volume_context has no {key}: set podInfoOnMount: true in the object CSIDriver {DRIVER}"
        ))),
    };
    let pod = Pod {
        namespace: said(NAMESPACE)?.into(),
        name: said(NAME)?.into(),
        service_account: said(SERVICE_ACCOUNT)?.into(),
    };
    let uid = said(UID)?;
    let uid = PodUid::parse(uid)
        .ok_or_else(|| Status::invalid_argument(format!("{UID} {uid:?} is not a UUID")))?;
    Ok((uid, pod))
}

fn mountable(capability: Option<VolumeCapability>) -> Result<(), Status> {
    let wrong = match capability {
        None => "volume_capability is missing",
        Some(VolumeCapability { access_type: Some(AccessType::Mount(_)) }) => return Ok(()),
        Some(_) => "volume_capability is not a mount: this volume is a folder",
    };
    Err(Status::invalid_argument(wrong))
}

fn ephemeral(context: &HashMap<String, String>) -> Result<(), Status> {
    match context.get(EPHEMERAL).map(String::as_str) {
        Some("true") | None => Ok(()),
        Some(_) => {
            let right =
                "write it into the pod, under volumes, as `csi: {driver: csi.pointsman.dev}`";
            Err(Status::invalid_argument(format!("this driver has no persistent volumes: {right}")))
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
    fn whoever_does_not_say_which_pod_it_is_hears_what_is_missing() {
        let all = [
            (NAMESPACE, "shop"),
            (NAME, "cart-7f"),
            (UID, "1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
            (SERVICE_ACCOUNT, "cart"),
        ];
        let context = || all.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (_, found) = pod(&context()).unwrap();
        assert_eq!(found.to_string(), "pod shop/cart-7f (serviceaccount cart)");
        for (key, _) in all {
            let mut context: HashMap<_, _> = context();
            context.insert(key.to_owned(), String::new());
            let empty = pod(&context).unwrap_err();
            context.remove(key);
            let missing = pod(&context).unwrap_err();
            for said in [empty, missing] {
                assert!(said.message().contains(key), "{said}");
                assert!(said.message().contains("podInfoOnMount: true"), "{said}");
            }
        }
        let mut context: HashMap<_, _> = context();
        context.insert(UID.to_owned(), "../..".to_owned());
        assert!(pod(&context).unwrap_err().message().contains("is not a UUID"));
    }

    #[test]
    fn a_volume_is_a_folder_of_one_pod() {
        let context = |value: &str| HashMap::from([(EPHEMERAL.to_owned(), value.to_owned())]);
        assert!(ephemeral(&context("true")).is_ok());
        assert!(ephemeral(&context("false")).unwrap_err().message().contains("under volumes"));
        assert!(mountable(None).is_err());
    }
}
