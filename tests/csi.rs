//! `pointsman csi` without a kubelet: what the kubelet would ask it is asked here.

mod support;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use self::{
    csi::{
        NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
        node_client::NodeClient,
        volume_capability::{AccessType, Mount},
    },
    registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
    support::{Agent as Process, POINTSMAN, root_is_here},
};

#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
mod csi {
    tonic::include_proto!("csi.v1");
}

#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
mod registration {
    tonic::include_proto!("pluginregistration");
}

/// A running plugin, in a folder with the kubelet's and the one that it mounts.
struct Plugin {
    process: Process,
    folder: Arc<TempDir>,
}

impl Plugin {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), Command::new(POINTSMAN))
    }

    /// In a mount namespace of its own, with which all that it mounts ends.
    fn start_apart() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", POINTSMAN]);
        Self::start_in(tempfile::tempdir().unwrap(), command)
    }

    fn start_in(folder: TempDir, mut command: Command) -> Self {
        let folder = Arc::new(folder);
        fs::create_dir(folder.path().join("socket")).unwrap();
        command.args(["csi", "--node", "n1", "--folder"]).arg(folder.path().join("socket"));
        command.arg("--kubelet").arg(folder.path().join("kubelet")).stdin(Stdio::null());
        let process = Process::spawn(folder.clone(), command);
        process.logs("mounting for pods");
        Self { process, folder }
    }

    async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(channel(calls(self.folder.path())).await)
    }

    async fn registration(&self) -> RegistrationClient<Channel> {
        RegistrationClient::new(channel(registry(self.folder.path())).await)
    }

    /// A path as the plugin sees it, with what it mounted.
    fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// How often something is mounted at a path.
    fn mounts(&self, path: &Path) -> usize {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.process.pid())).unwrap();
        let at = path.to_str().unwrap();
        mounts.lines().filter(|line| line.split(' ').nth(4) == Some(at)).count()
    }
}

fn calls(folder: &Path) -> PathBuf {
    folder.join("kubelet/plugins/csi.pointsman.dev/csi.sock")
}

fn registry(folder: &Path) -> PathBuf {
    folder.join("kubelet/plugins_registry/csi.pointsman.dev-reg.sock")
}

async fn channel(socket: PathBuf) -> Channel {
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap()
}

fn publish(target: &Path) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: "v".to_owned(),
        target_path: target.to_str().unwrap().to_owned(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(Mount {})),
        }),
        volume_context: HashMap::from([(
            "csi.storage.k8s.io/ephemeral".to_owned(),
            "true".to_owned(),
        )]),
    }
}

fn unpublish(target: &Path) -> NodeUnpublishVolumeRequest {
    let target_path = target.to_str().unwrap().to_owned();
    NodeUnpublishVolumeRequest { volume_id: "v".to_owned(), target_path }
}

#[tokio::test]
async fn a_volume_is_mounted_once_read_only_and_taken_away_once() {
    if !root_is_here("a mount") {
        return;
    }
    let plugin = Plugin::start_apart();
    let folder = plugin.folder.path();
    fs::write(folder.join("socket/before"), "").unwrap();
    let target = folder.join("kubelet/pods/1/mount");
    let mut node = plugin.node().await;

    for _ in 0..2 {
        node.node_publish_volume(publish(&target)).await.unwrap();
        assert_eq!(plugin.mounts(&target), 1);
    }
    let seen = plugin.sees(&target);
    let refused = fs::write(seen.join("new"), "").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // What comes later is seen, too: so the next agent's socket is.
    fs::write(folder.join("socket/after"), "").unwrap();
    assert!(seen.join("before").exists() && seen.join("after").exists());

    for _ in 0..2 {
        node.node_unpublish_volume(unpublish(&target)).await.unwrap();
        assert_eq!(plugin.mounts(&target), 0);
        assert!(!target.exists());
    }
    assert!(folder.join("socket/after").exists(), "only the mount is taken away");
}

#[tokio::test]
async fn a_folder_that_is_none_of_ours_is_left_with_what_is_in_it() {
    let plugin = Plugin::start();
    let target = plugin.folder.path().join("full");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "").unwrap();
    let error = plugin.node().await.node_unpublish_volume(unpublish(&target)).await.unwrap_err();
    assert!(error.message().contains("could not be taken away"), "{error}");
    assert!(target.join("file").exists());
}

#[tokio::test]
async fn the_kubelet_is_told_a_socket_that_answers() {
    let plugin = Plugin::start();
    let told = plugin.registration().await.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((told.r#type.as_str(), told.name.as_str()), ("CSIPlugin", "csi.pointsman.dev"));
    let mut node = NodeClient::new(channel(told.endpoint.into()).await);
    let info = node.node_get_info(csi::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.node_id, "n1");
}

/// gRPC's Go library has the path it was told as the `:authority`, slashes and all, and h2 by itself
/// refuses the request for that.
#[test]
fn the_sockets_path_as_the_authority_is_served() {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    let plugin = Plugin::start();
    let socket = registry(plugin.folder.path());
    let mut stream = StdUnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let frame = |kind, flags, id: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, id], payload].concat()
    };
    let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // POST, http, and by names of HPACK's static table the path and the authority.
    let path = literal("/pluginregistration.Registration/GetInfo");
    let authority = literal(socket.to_str().unwrap());
    let headers = [&[0x83, 0x86, 0x04], &path[..], &[0x01], &authority[..]].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream.write_all(&frame(HEADERS, 0x4 | 0x1, 1, &headers)).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[8] == 1 {
            assert_eq!(head[3], HEADERS, "an answer, and no reset");
            return;
        }
    }
}

#[test]
fn sockets_are_the_owners_alone_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for socket in [calls(folder.path()), registry(folder.path())] {
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        // Nobody listens once it is dropped, and the file stays.
        drop(StdUnixListener::bind(&socket).unwrap());
    }
    let plugin = Plugin::start_in(folder, Command::new(POINTSMAN));
    for socket in [calls(plugin.folder.path()), registry(plugin.folder.path())] {
        let metadata = fs::metadata(&socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", socket.display());
        StdUnixStream::connect(&socket).unwrap();
    }
}

#[tokio::test]
async fn a_refused_registration_ends_the_plugin_with_what_the_kubelet_said() {
    let mut plugin = Plugin::start();
    let refusal =
        RegistrationStatus { plugin_registered: false, error: "such a name is taken".to_owned() };
    // The plugin may end before its answer is out.
    plugin.registration().await.notify_registration_status(refusal).await.ok();
    assert_eq!(plugin.process.ended().code(), Some(1));
    plugin.process.logs("refuses the driver csi.pointsman.dev: such a name is taken");
}

#[tokio::test]
async fn a_plugin_that_is_told_to_end_takes_itself_off_the_kubelets_list() {
    let mut plugin = Plugin::start();
    let registered = RegistrationStatus { plugin_registered: true, error: String::new() };
    plugin.registration().await.notify_registration_status(registered).await.unwrap();
    plugin.process.signal(Signal::TERM);
    assert_eq!(plugin.process.ended().code(), Some(0));
    assert!(!registry(plugin.folder.path()).exists());
}
