//! `pointsman csi` without a kubelet: the tests send the kubelet's calls.

mod support;

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
    support::{Agent as Process, Http, POINTSMAN, SHOP, root_is_here},
};

#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
mod csi {
    tonic::include_proto!("csi.v1");
}

#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
mod registration {
    tonic::include_proto!("pluginregistration");
}

/// A running plugin, in a folder that has the kubelet's folder and the pods' folders.
struct Plugin {
    process: Process,
    folder: Arc<TempDir>,
}

impl Plugin {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), Command::new(POINTSMAN))
    }

    fn start_in(folder: impl Into<Arc<TempDir>>, mut command: Command) -> Self {
        let folder = folder.into();
        command.args(["csi", "--node", "n1", "--pods"]).arg(folder.path().join("pods"));
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
}

/// A mount namespace for plugins, as on a node. All mounts end with it.
struct Mounts(Child);

impl Mounts {
    fn new() -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        // Until then the process is still in the namespace of this test.
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(holder)
    }

    /// A program in the namespace.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--mount=/proc/{}/ns/mnt", self.0.id()), program]);
        command
    }

    fn plugin(&self, folder: impl Into<Arc<TempDir>>) -> Plugin {
        Plugin::start_in(folder, self.enter(POINTSMAN))
    }

    fn run(&self, program: &str, arguments: &[&OsStr]) {
        let ran = self.enter(program).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{program} {arguments:?}: {ran:?}");
    }

    /// Mounts as a plugin does that dies before it makes the mount read-only.
    fn bind(&self, from: &Path, to: &Path) {
        self.run("mount", &["--bind".as_ref(), from.as_ref(), to.as_ref()]);
    }

    fn unmount(&self, at: &Path) {
        self.run("umount", &[at.as_ref()]);
    }

    /// The path in the namespace of the mounts.
    fn sees(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.0.id())).join(path.strip_prefix("/").unwrap())
    }

    /// The options of each mount at a path.
    fn at(&self, path: &Path) -> Vec<String> {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.0.id())).unwrap();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let here = fields.filter(|fields| Path::new(fields[4]) == path);
        here.map(|fields| fields[5].to_owned()).collect()
    }

    /// Checks that there is one mount, and that it allows nothing but reading.
    fn is_hardened(&self, path: &Path) {
        let mounts = self.at(path);
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        let options: Vec<_> = mounts[0].split(',').collect();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&option), "{option} is not among {options:?}");
        }
        let refused = fs::write(self.sees(path).join("new"), "").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
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

const CART: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
const PAY: &str = "2b4e28ba-2fa1-11d2-883f-0016d3cca427";

/// As the kubelet sends it with `podInfoOnMount: true`.
fn publish(uid: &str, target: &Path) -> NodePublishVolumeRequest {
    let said = [
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "cart-7f"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", uid),
        ("csi.storage.k8s.io/serviceAccount.name", "cart"),
    ];
    NodePublishVolumeRequest {
        volume_id: "v".to_owned(),
        target_path: target.to_str().unwrap().to_owned(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(Mount {})),
        }),
        volume_context: said.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

fn unpublish(target: &Path) -> NodeUnpublishVolumeRequest {
    let target_path = target.to_str().unwrap().to_owned();
    NodeUnpublishVolumeRequest { volume_id: "v".to_owned(), target_path }
}

/// The mounts of a pod, as the plugin finds them on the node.
fn pods_folder(folder: &Path, uid: &str) -> PathBuf {
    folder.join("pods").join(uid).join("socket")
}

#[tokio::test]
async fn a_volume_is_mounted_once_read_only_and_taken_away_once() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.path();
    let target = folder.join("kubelet/pods/1/mount");
    let mut node = plugin.node().await;

    for _ in 0..2 {
        node.node_publish_volume(publish(CART, &target)).await.unwrap();
        mounts.is_hardened(&target);
    }
    assert_eq!(fs::read_dir(mounts.sees(&target)).unwrap().count(), 0, "whose it is, no pod sees");
    // The pod also sees later files, such as the next agent's socket.
    fs::write(pods_folder(folder, CART).join("after"), "").unwrap();
    assert!(mounts.sees(&target).join("after").exists());

    for _ in 0..2 {
        node.node_unpublish_volume(unpublish(&target)).await.unwrap();
        assert!(mounts.at(&target).is_empty() && !target.exists());
        assert!(!folder.join("pods").join(CART).exists(), "it was the pod's last volume");
    }
}

#[tokio::test]
async fn a_pods_folder_is_its_own_and_goes_with_its_last_volume() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.path();
    let target = |volume: &str| folder.join("kubelet/pods").join(volume).join("mount");
    let mut node = plugin.node().await;
    for (uid, volume) in [(CART, "cart/a"), (CART, "cart/b"), (PAY, "pay/a")] {
        node.node_publish_volume(publish(uid, &target(volume))).await.unwrap();
    }
    fs::write(pods_folder(folder, CART).join("mine"), "").unwrap();
    let sees = |volume| mounts.sees(&target(volume)).join("mine").exists();
    assert_eq!(["cart/a", "cart/b", "pay/a"].map(sees), [true, true, false]);

    node.node_unpublish_volume(unpublish(&target("cart/a"))).await.unwrap();
    assert!(sees("cart/b"), "the pod has another volume");
    node.node_unpublish_volume(unpublish(&target("cart/b"))).await.unwrap();
    let there = |uid| folder.join("pods").join(uid).exists();
    assert!(!there(CART) && there(PAY));
    mounts.is_hardened(&target("pay/a"));
}

#[tokio::test]
async fn a_pod_reaches_the_agent_through_its_volume_whichever_of_the_two_came_first() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.clone();
    let target = |volume: &str| folder.path().join(volume);
    let mut node = plugin.node().await;
    node.node_publish_volume(publish(CART, &target("early"))).await.unwrap();
    fs::write(folder.path().join("services.yaml"), SHOP).unwrap();
    let pods = folder.path().join("pods");
    let agent = || Process::in_folder(folder.clone(), &["--pods", pods.to_str().unwrap()]);
    let mut running = agent();
    node.node_publish_volume(publish(PAY, &target("late"))).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            drop(running.kill());
            running = agent();
        }
        for volume in ["early", "late"] {
            let socket = mounts.sees(&target(volume)).join("agent.sock");
            let mut answers = Http::connect(&socket).await;
            for _ in 0..1000 {
                if answers.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                answers = Http::connect(&socket).await;
            }
            answers.unwrap().pick("cart.shop").await;
        }
    }
    drop(running);
}

/// The states that a plugin leaves if it dies while it mounts. The kubelet's next call must repair each
/// of them.
#[tokio::test]
async fn whatever_step_a_plugin_dies_at_the_next_call_mounts_read_only() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let mut folder = Arc::new(tempfile::tempdir().unwrap());
    for died_after in 0..=5 {
        let plugin = mounts.plugin(folder.clone());
        let target = folder.path().join("kubelet/pods/1/mount");
        let read_only = folder.path().join("pods/.read-only");
        let steps: [&dyn Fn(); 5] = [
            &|| fs::create_dir_all(pods_folder(folder.path(), CART)).unwrap(),
            &|| fs::create_dir(&read_only).unwrap(),
            &|| mounts.bind(&folder.path().join("pods"), &read_only),
            &|| fs::create_dir_all(&target).unwrap(),
            // An earlier plugin made the mount. To make it read-only would have been its next step.
            &|| mounts.bind(&pods_folder(folder.path(), CART), &target),
        ];
        steps[..died_after].iter().for_each(|step| step());
        let mut node = plugin.node().await;
        node.node_publish_volume(publish(CART, &target)).await.unwrap();
        mounts.is_hardened(&target);
        mounts.is_hardened(&read_only);
        node.node_unpublish_volume(unpublish(&target)).await.unwrap();
        assert!(!folder.path().join("pods").join(CART).exists(), "after step {died_after}");
        mounts.unmount(&read_only);
        folder = Arc::new(tempfile::tempdir().unwrap());
    }
}

#[tokio::test]
async fn whatever_step_a_plugin_dies_at_the_next_call_takes_all_away() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.path();
    let target = folder.join("kubelet/pods/1/mount");
    let pod = folder.join("pods").join(CART);
    let hidden = folder.join("pods").join(format!(".{CART}.old"));
    let steps: [&dyn Fn(); 4] = [
        &|| mounts.unmount(&target),
        &|| fs::remove_dir(&target).unwrap(),
        &|| fs::rename(&pod, &hidden).unwrap(),
        &|| fs::remove_file(hidden.join("record.json")).unwrap(),
    ];
    let mut node = plugin.node().await;
    for died_after in 0..=steps.len() {
        node.node_publish_volume(publish(CART, &target)).await.unwrap();
        steps[..died_after].iter().for_each(|step| step());
        node.node_unpublish_volume(unpublish(&target)).await.unwrap();
        assert!(mounts.at(&target).is_empty() && !target.exists(), "after step {died_after}");
        assert!(!pod.exists() && !hidden.exists(), "after step {died_after}");
    }
}

#[tokio::test]
async fn what_is_not_the_pods_folder_is_not_taken_for_it() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.path();
    let (target, other) = (folder.join("target"), folder.join("other"));
    fs::create_dir(&target).unwrap();
    fs::create_dir(&other).unwrap();
    mounts.bind(&other, &target);
    let mut node = plugin.node().await;
    let refused = node.node_publish_volume(publish(CART, &target)).await.unwrap_err();
    assert!(refused.message().contains("something else is mounted there"), "{refused}");
    // It is another pod's folder.
    mounts.unmount(&target);
    node.node_publish_volume(publish(PAY, &target)).await.unwrap();
    let refused = node.node_publish_volume(publish(CART, &target)).await.unwrap_err();
    assert!(refused.message().contains("something else is mounted there"), "{refused}");
}

#[tokio::test]
async fn a_plugin_that_starts_again_keeps_what_is_mounted_and_drops_what_went_meanwhile() {
    if !root_is_here("a mount") {
        return;
    }
    let mounts = Mounts::new();
    let plugin = mounts.plugin(tempfile::tempdir().unwrap());
    let folder = plugin.folder.clone();
    let target = |volume: &str| folder.path().join(volume);
    let mut node = plugin.node().await;
    node.node_publish_volume(publish(CART, &target("stays"))).await.unwrap();
    node.node_publish_volume(publish(PAY, &target("goes"))).await.unwrap();
    drop(plugin.process.kill());
    mounts.unmount(&target("goes"));
    let plugin = mounts.plugin(folder.clone());
    let there = |uid| folder.path().join("pods").join(uid).exists();
    assert!(there(CART) && !there(PAY));
    mounts.is_hardened(&target("stays"));
    // After a restart of the node, the kubelet asks for the mount again.
    let mut node = plugin.node().await;
    node.node_publish_volume(publish(CART, &target("stays"))).await.unwrap();
    mounts.is_hardened(&target("stays"));
}

#[tokio::test]
async fn without_the_pods_names_a_volume_is_refused_with_what_is_missing() {
    let plugin = Plugin::start();
    let mut request = publish(CART, &plugin.folder.path().join("target"));
    request.volume_context.remove("csi.storage.k8s.io/pod.uid").unwrap();
    let refused = plugin.node().await.node_publish_volume(request).await.unwrap_err();
    assert!(refused.message().contains("set podInfoOnMount: true"), "{refused}");
}

#[tokio::test]
async fn a_folder_that_is_none_of_ours_is_left_with_what_is_in_it() {
    let plugin = Plugin::start();
    let target = plugin.folder.path().join("full");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "").unwrap();
    let error = plugin.node().await.node_unpublish_volume(unpublish(&target)).await.unwrap_err();
    assert!(error.message().contains("could not be unmounted"), "{error}");
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

/// gRPC's Go library sends the path of the socket, with its slashes, as `:authority`. h2 alone refuses
/// such a request.
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
    // POST and http as indices of HPACK's static table, then the path and the authority as literals.
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
        // After it is dropped nothing listens, and the file stays.
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
    // The plugin may end before it has sent its answer.
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
