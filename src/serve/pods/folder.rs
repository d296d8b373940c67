//! The folder of each pod. `pointsman csi` makes it, and the agent listens in it. They share only files,
//! so that neither depends on the other running.
//!
//! | under [`DEFAULT`], which only root can enter | |
//! |---|---|
//! | `UID/record.json` | the pod's names |
//! | `UID/socket/` | mounted read-only into the pod; has the agent's socket |
//! | `.NAME` | incomplete, or being removed: the agent ignores it |
//!
//! A folder gets its final name when it is complete, and a pod's names never change. So a visible folder
//! can be read, and has to be read only once.

use std::{
    fs::{self, DirBuilder, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{Pod, PodUid},
    socket::lock::SocketError,
};

/// The default folder of the pods' folders. It is not below `/run/pointsman`: a pod that mounts that
/// folder could connect as any other pod.
pub const DEFAULT: &str = "/run/pointsman-pods";

/// The name of the socket in a pod.
const SOCKET: &str = "agent.sock";
const RECORD: &str = "record.json";
const MOUNTED: &str = "socket";

/// The version of a record. It grows when an older agent would misread a newer record, not for a new
/// field.
const VERSION: u32 = 1;
/// Bytes of a record: three names of at most 253 bytes, and room for new fields.
const LONGEST_RECORD: u64 = 4096;
/// The most characters of a name in Kubernetes.
const LONGEST_NAME: usize = 253;

/// The write permissions of group and others.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner may enter.
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Any user of the pod may look the socket up.
const PUBLIC_FOLDER: u32 = 0o755;

/// The folder that has all pods' folders.
#[derive(Clone, Debug)]
pub struct PodFolders(PathBuf);

/// Why a folder is refused, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another user than root could have written the pod's names.
    #[error(
        "{path} belongs to uid {uid}: it must belong to root, so that only root says which pod it \
         is for"
    )]
    Owner { path: PathBuf, uid: u32 },
    /// The same, by the permissions.
    #[error(
        "{path} has the mode {mode:04o}: it must be {right:04o}, so that only root says which pod \
         it is for"
    )]
    Writable { path: PathBuf, mode: u32, right: u32 },
    /// A symbolic link, or something else.
    #[error("{path} is not {kind}")]
    Kind { kind: &'static str, path: PathBuf },
    /// Its name is no pod's uid.
    #[error("{path} is not named after a pod's uid, such as 1b4e28ba-2fa1-11d2-883f-0016d3cca427")]
    Name { path: PathBuf },
    /// Its record has no valid names.
    #[error("{path} does not say which pod the folder is for: {why}")]
    Record { path: PathBuf, why: String },
    /// No socket could be made in it.
    #[error(transparent)]
    Listen(#[from] SocketError),
    /// An error of the system.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// `record.json`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    uid: String,
    namespace: Box<str>,
    name: Box<str>,
    service_account: Box<str>,
}

impl PodFolders {
    /// The folders under this path. Nothing is read yet.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder of the folders.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder that has all pods' folders, or sets its mode: kubelet makes it with the mode 0755.
    ///
    /// # Errors
    /// It can't be made, or is not trusted.
    pub fn prepare(&self) -> Result<(), FolderError> {
        let path = &self.0;
        match DirBuilder::new().mode(PRIVATE_FOLDER).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io(path)(error)),
            _ => {}
        }
        let found = fs::symlink_metadata(path).map_err(io(path))?;
        if found.is_dir() && found.uid() == own_uid() && mode(&found) != PRIVATE_FOLDER {
            fs::set_permissions(path, Permissions::from_mode(PRIVATE_FOLDER)).map_err(io(path))?;
        }
        folder(path, PRIVATE_FOLDER).map(drop)
    }

    /// The pods that have a folder, and a refusal for each other visible entry.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self) -> Result<(Vec<PodUid>, Vec<FolderError>), FolderError> {
        let (mut pods, mut others) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.0).map_err(io(&self.0))? {
            let name = entry.map_err(io(&self.0))?.file_name();
            let text = name.to_string_lossy();
            match PodUid::parse(&text) {
                _ if text.starts_with('.') => {}
                Some(uid) if uid.to_string() == text => pods.push(uid),
                _ => others.push(FolderError::Name { path: self.0.join(&name) }),
            }
        }
        Ok((pods, others))
    }

    /// Whether this pod has a folder.
    #[must_use]
    pub fn has(&self, uid: PodUid) -> bool {
        fs::symlink_metadata(self.folder(uid)).is_ok()
    }

    #[must_use]
    pub fn socket(&self, uid: PodUid) -> PathBuf {
        self.0.join(mounted(uid)).join(SOCKET)
    }

    /// The names of this pod.
    ///
    /// # Errors
    /// The folder is incomplete, or another user than root could have written it.
    pub fn read(&self, uid: PodUid) -> Result<Pod, FolderError> {
        folder(&self.folder(uid), PRIVATE_FOLDER)?;
        folder(&self.0.join(mounted(uid)), PUBLIC_FOLDER)?;
        let path = self.folder(uid).join(RECORD);
        // NONBLOCK, so that a pipe in its place is not waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path);
        let file = file.map_err(io(&path))?;
        let found = file.metadata().map_err(io(&path))?;
        if !found.is_file() {
            return Err(FolderError::Kind { kind: "a file", path });
        }
        trusted(&path, &found, PRIVATE_FILE)?;
        let mut text = String::new();
        file.take(LONGEST_RECORD).read_to_string(&mut text).map_err(io(&path))?;
        parse(&text, uid).map_err(|why| FolderError::Record { path, why })
    }

    /// Makes this pod's folder, or repairs it. Idempotent.
    ///
    /// # Errors
    /// The system's.
    pub fn make(&self, uid: PodUid, pod: &Pod) -> Result<(), FolderError> {
        self.prepare()?;
        let made = self.folder(uid);
        if made.try_exists().map_err(io(&made))? {
            if self.read(uid).is_ok_and(|found| found == *pod) {
                return Ok(());
            }
            fill(&made, uid, pod)?;
            // The agent watches the folder's own changes, and not those within it.
            return fs::set_permissions(&made, Permissions::from_mode(PRIVATE_FOLDER))
                .map_err(io(&made));
        }
        let hidden = self.0.join(format!(".{uid}.new"));
        discard(&hidden)?;
        make_folder(&hidden, PRIVATE_FOLDER)?;
        fill(&hidden, uid, pod)?;
        fs::rename(&hidden, &made).map_err(io(&made))
    }

    /// Removes this pod's folder, and what an interrupted removal left of it. Idempotent.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, uid: PodUid) -> Result<(), FolderError> {
        let (made, hidden) = (self.folder(uid), self.0.join(format!(".{uid}.old")));
        discard(&hidden)?;
        match fs::rename(&made, &hidden) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io(&made)(error)),
            Ok(()) => discard(&hidden),
        }
    }

    /// Removes what interrupted calls left. No call may be under way.
    ///
    /// # Errors
    /// The system's.
    pub fn tidy(&self) -> Result<(), FolderError> {
        for entry in fs::read_dir(&self.0).map_err(io(&self.0))? {
            let name = entry.map_err(io(&self.0))?.file_name();
            let hidden = name.to_str().and_then(|name| name.strip_prefix('.'));
            let uid = hidden
                .and_then(|name| name.strip_suffix(".new").or_else(|| name.strip_suffix(".old")));
            if uid.and_then(PodUid::parse).is_some() {
                discard(&self.0.join(name))?;
            }
        }
        Ok(())
    }

    fn folder(&self, uid: PodUid) -> PathBuf {
        self.0.join(uid.to_string())
    }
}

/// The folder that is mounted into this pod, relative to [`PodFolders::path`].
#[must_use]
pub fn mounted(uid: PodUid) -> PathBuf {
    [&uid.to_string(), MOUNTED].iter().collect()
}

/// Writes the contents of a pod's folder.
fn fill(folder: &Path, uid: PodUid, pod: &Pod) -> Result<(), FolderError> {
    let record = Record {
        version: VERSION,
        uid: uid.to_string(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        service_account: pod.service_account.clone(),
    };
    let (path, hidden) = (folder.join(RECORD), folder.join(format!(".{RECORD}")));
    let text = serde_json::to_string(&record).map_err(|error| io(&path)(error.into()))?;
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(&hidden)?;
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&hidden, &path)
    };
    write().map_err(io(&path))?;
    make_folder(&folder.join(MOUNTED), PUBLIC_FOLDER)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), FolderError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io(path)(error)),
        // Whatever the umask is.
        _ => fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io(path)),
    }
}

fn discard(path: &Path) -> Result<(), FolderError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

/// Checks that this is a folder that only root can write.
fn folder(path: &Path, right: u32) -> Result<Metadata, FolderError> {
    let found = fs::symlink_metadata(path).map_err(io(path))?;
    if !found.is_dir() {
        return Err(FolderError::Kind { kind: "a folder", path: path.to_owned() });
    }
    trusted(path, &found, right)?;
    Ok(found)
}

/// Checks that only root, or this process's own user, could have written it.
fn trusted(path: &Path, found: &Metadata, right: u32) -> Result<(), FolderError> {
    let (uid, mode) = (found.uid(), mode(found));
    if uid != 0 && uid != own_uid() {
        return Err(FolderError::Owner { path: path.to_owned(), uid });
    }
    match mode & OTHERS_WRITE {
        0 => Ok(()),
        _ => Err(FolderError::Writable { path: path.to_owned(), mode, right }),
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn mode(found: &Metadata) -> u32 {
    found.mode() & 0o7777
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let path = path.to_owned();
    move |error| FolderError::Io { path, error }
}

fn parse(text: &str, uid: PodUid) -> Result<Pod, String> {
    let record: Record = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if record.version != VERSION {
        let found = record.version;
        return Err(format!("it is of version {found}, and this agent reads version {VERSION}"));
    }
    if PodUid::parse(&record.uid) != Some(uid) {
        return Err(format!("its uid is \"{}\", which is not that of the folder", record.uid));
    }
    let Record { namespace, name, service_account, .. } = record;
    for (field, text) in
        [("namespace", &namespace), ("name", &name), ("serviceAccount", &service_account)]
    {
        // The characters that Kubernetes allows in all three: none can forge a log or a page.
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
        if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(allowed) {
            return Err(format!("its {field} {text:?} is not a valid name in Kubernetes"));
        }
    }
    Ok(Pod { namespace, name, service_account })
}

#[cfg(test)]
mod tests;
