//! Makes the listening socket. It is complete before any caller can see it.
//!
//! The socket is bound under a temporary name, gets its mode and group, listens, and is then renamed
//! into place. Until it listens, the kernel refuses connections, so that no caller gets in early. A
//! caller finds either the old socket or the complete new one. The socket is never unlinked: when an
//! agent ends, the name may already be its successor's.

use std::{
    fs::{self, Permissions},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    address::LONGEST_PATH,
    lock::{SocketError, SocketLock, beside, folder, folder_error},
};

/// By default every user that can enter the folder may connect.
pub const DEFAULT_MODE: u32 = 0o666;

/// Connections that may wait to be accepted. The kernel lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The mode of a socket for the agent's own user alone.
const OWNER_ONLY: u32 = 0o600;

/// Binds the locked socket with this mode and group.
///
/// # Errors
/// See [`SocketError`].
pub fn bind(
    socket_lock: &SocketLock,
    mode: u32,
    group: Option<u32>,
) -> Result<UnixListener, SocketError> {
    bind_to(socket_lock.address().path(), mode, group)
}

/// Binds a pod's socket in the pod's own folder. Any user of the pod may connect; no other pod sees it.
///
/// # Errors
/// See [`SocketError`].
pub fn bind_for_pod(socket: &Path) -> Result<UnixListener, SocketError> {
    bind_to(socket, DEFAULT_MODE, None)
}

/// Binds the take-over socket, on which a successor asks for the locked socket.
///
/// # Errors
/// See [`SocketError`].
pub fn bind_takeover(socket_lock: &SocketLock) -> Result<UnixListener, SocketError> {
    bind_to(&takeover_path(socket_lock.address().path()), OWNER_ONLY, None)
}

/// The path of the take-over socket. If the plain name is too long for a socket, it is a hidden name with
/// a hash that is the same in every version.
#[must_use]
pub fn takeover_path(socket: &Path) -> PathBuf {
    let plain = beside(socket, ".takeover");
    if plain.as_os_str().len() <= LONGEST_PATH {
        return plain;
    }
    let sum = xxh3_64(socket.file_name().unwrap_or_default().as_bytes());
    folder(socket).join(format!(".{sum:016x}.takeover"))
}

/// Connects to a socket, even if its path is longer than a socket address may be.
///
/// # Errors
/// The system's.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    with_address(path, |address| Ok(rustix::net::connect(&fd, address)?))?;
    Ok(UnixStream::from(fd))
}

/// Whether the path still leads to this socket, and not to one that was renamed over it.
#[must_use]
pub fn is_at(path: &Path, bound: &Inode) -> bool {
    Inode::of(path).is_ok_and(|found| found == *bound)
}

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode(u64, u64);

impl Inode {
    /// Of this path.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|it| Self(it.dev(), it.ino()))
    }
}

fn bind_to(socket: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let temporary = temporary(socket);
    // An agent that died between bind and rename left it. The lock makes it ours.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SocketError::Io { doing: "removing", path: temporary, reason: error });
        }
        _ => {}
    }
    let listener = prepare(socket, &temporary, mode, group)?;
    fs::rename(&temporary, socket).map_err(|reason| SocketError::Io {
        doing: "renaming the socket to",
        path: socket.into(),
        reason,
    })?;
    Ok(listener)
}

/// A hidden name in the socket's folder. It is unique for each socket, and has a fixed length.
fn temporary(socket: &Path) -> PathBuf {
    let mut name = DefaultHasher::new();
    socket.file_name().hash(&mut name);
    folder(socket).join(format!(".{:016x}.new", name.finish()))
}

fn prepare(
    socket: &Path,
    temporary: &Path,
    mode: u32,
    group: Option<u32>,
) -> Result<UnixListener, SocketError> {
    let failed = |doing: &'static str| {
        let path = temporary.to_path_buf();
        move |reason: io::Error| SocketError::Io { doing, path, reason }
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(io::Error::from)
        .map_err(failed("making"))?;
    let bound = with_address(temporary, |address| Ok(rustix::net::bind(&fd, address)?));
    bound.map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => {
            SocketError::Io { doing: "binding", path: temporary.into(), reason }
        }
        _ => folder_error(socket, reason),
    })?;
    if let Some(group) = group {
        std::os::unix::fs::chown(temporary, None, Some(group))
            .map_err(failed("giving the group to"))?;
    }
    fs::set_permissions(temporary, Permissions::from_mode(mode))
        .map_err(failed("giving the mode to"))?;
    rustix::net::listen(&fd, BACKLOG).map_err(io::Error::from).map_err(failed("listening on"))?;
    Ok(UnixListener::from(fd))
}

/// Calls `what` with the address of a path. A path that is too long is reached through /proc/self/fd.
fn with_address(
    path: &Path,
    what: impl FnOnce(&SocketAddrUnix) -> io::Result<()>,
) -> io::Result<()> {
    if path.as_os_str().len() <= LONGEST_PATH {
        what(&SocketAddrUnix::new(path)?)
    } else {
        let folder = fs::File::open(folder(path))?;
        let name = path.file_name().unwrap_or_default();
        let through: PathBuf =
            ["/proc/self/fd".as_ref(), folder.as_raw_fd().to_string().as_ref(), name]
                .iter()
                .collect();
        what(&SocketAddrUnix::new(&through)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::address::SocketAddress;

    fn listen(path: &Path, mode: u32) -> UnixListener {
        let socket_lock = SocketLock::acquire(&SocketAddress::from_path(path).unwrap()).unwrap();
        bind(&socket_lock, mode, None).unwrap()
    }

    #[test]
    fn the_socket_has_its_mode_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o666, 0o600, 0o660] {
            let path = folder.path().join(format!("{mode:o}.sock"));
            let _listener = listen(&path, mode);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(UnixListener::bind(&path).unwrap());
        fs::write(temporary(&path), "").unwrap();
        let _listener = listen(&path, DEFAULT_MODE);
        UnixStream::connect(&path).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["agent.sock", "agent.sock.lock"]);
    }

    #[test]
    fn the_socket_outlives_its_listener_so_that_none_unlinks_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(listen(&path, DEFAULT_MODE));
        assert!(path.exists());
    }

    #[test]
    fn a_path_of_107_bytes_can_be_served() {
        let folder = tempfile::tempdir().unwrap();
        let name = "x".repeat(LONGEST_PATH - folder.path().as_os_str().len() - 1);
        let path = folder.path().join(name);
        assert_eq!(path.as_os_str().len(), LONGEST_PATH);
        let _listener = listen(&path, DEFAULT_MODE);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn whoever_takes_over_finds_the_way_however_long_the_path_is() {
        let folder = tempfile::tempdir().unwrap();
        let name = "x".repeat(LONGEST_PATH - folder.path().as_os_str().len() - 1);
        for name in ["agent.sock", &name] {
            let path = folder.path().join(name);
            let socket_lock =
                SocketLock::acquire(&SocketAddress::from_path(&path).unwrap()).unwrap();
            let _takeover = bind_takeover(&socket_lock).unwrap();
            let takeover = takeover_path(&path);
            assert_eq!(fs::metadata(&takeover).unwrap().mode() & 0o777, OWNER_ONLY);
            connect(&takeover).unwrap();
        }
    }

    #[test]
    fn a_socket_that_another_was_renamed_over_is_no_longer_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _first = listen(&path, DEFAULT_MODE);
        let first = Inode::of(&path).unwrap();
        assert!(is_at(&path, &first));
        let _second = bind_to(&path, DEFAULT_MODE, None).unwrap();
        assert!(!is_at(&path, &first));
    }

    #[test]
    fn a_group_of_ones_own_can_be_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let socket_lock = SocketLock::acquire(&SocketAddress::from_path(&path).unwrap()).unwrap();
        let group = rustix::process::getegid().as_raw();
        let _listener = bind(&socket_lock, 0o660, Some(group)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    }
}
