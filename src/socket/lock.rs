//! The lock on a socket's path: one agent at a time has it, and no file of another kind is replaced.
//!
//! A lock file beside the socket shows whether the agent of an existing socket still lives: the kernel
//! drops the lock with its process, however that ends. The lock file is never removed. Otherwise two
//! agents could hold locks on two files of the same name.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{address::SocketAddress, closing::once_closed};

/// Why an agent can't have the socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{socket} is served by a live agent, pid {pid}")]
    Live {
        socket: PathBuf,
        /// The agent's process, if the lock file has it.
        pid: String,
    },
    #[error("{socket} is served by another program, pid {pid}")]
    Foreign { socket: PathBuf, pid: i32 },
    /// The path is something else than a socket.
    #[error("{socket} is {what}, not a socket: move it away or choose another path")]
    Occupied { socket: PathBuf, what: &'static str },
    /// The folder does not exist.
    #[error("folder {folder} of the socket does not exist: create it first")]
    NoFolder { folder: PathBuf },
    /// The folder is something else.
    #[error("{folder} is not a folder, so no socket can be in it")]
    NotAFolder { folder: PathBuf },
    /// The folder is not writable.
    #[error("folder {folder} of the socket is not writable for uid {uid}: {reason}")]
    NotWritable {
        folder: PathBuf,
        /// The user of this process.
        uid: u32,
        reason: io::Error,
    },
    #[error("{doing} {path}: {reason}")]
    Io { doing: &'static str, path: PathBuf, reason: io::Error },
}

/// Holds a socket's path until it is dropped.
#[derive(Debug)]
pub struct SocketLock {
    address: SocketAddress,
    /// The lock is free when this descriptor and its copies in other agents are closed.
    file: File,
}

impl SocketLock {
    /// Takes the lock. Waits for the socket of an agent that was killed, one second at most.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn acquire(address: &SocketAddress) -> Result<Self, SocketError> {
        Self::acquire_with(address, false)
    }

    /// As [`Self::acquire`]. `listening`: a process that listens there does so for this agent.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn acquire_with(address: &SocketAddress, listening: bool) -> Result<Self, SocketError> {
        let socket = address.path();
        let is_socket = existing_socket(socket)?;
        let lock_path = beside(socket, ".lock");
        let mut lock = open_lock(socket, &lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SocketError::Live { socket: socket.into(), pid: holder(&mut lock) });
            }
            Err(TryLockError::Error(reason)) => {
                return Err(SocketError::Io { doing: "locking", path: lock_path, reason });
            }
        }
        // The lock proves that no agent serves it, but another program may. A listener that goes
        // within moments is that of an agent that was killed.
        if is_socket && !listening {
            once_closed(|| listener(socket).map_or(Ok(()), Err), |_| true)
                .map_err(|pid| SocketError::Foreign { socket: socket.into(), pid })?;
        }
        let acquired = Self { address: address.clone(), file: lock };
        acquired.write_pid()?;
        Ok(acquired)
    }

    /// The lock that another agent handed over.
    #[must_use]
    pub fn inherited(address: &SocketAddress, lock: OwnedFd) -> Self {
        Self { address: address.clone(), file: lock.into() }
    }

    /// Writes this process's pid to the lock file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_pid(&self) -> Result<(), SocketError> {
        let pid = format!("{}\n", std::process::id());
        self.file.set_len(0).and_then(|()| self.file.write_all_at(pid.as_bytes(), 0)).map_err(
            |reason| {
                let path = beside(self.address.path(), ".lock");
                SocketError::Io { doing: "writing", path, reason }
            },
        )
    }

    /// The descriptor to hand over. The lock stays taken as long as either agent has it open.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    #[must_use]
    pub fn address(&self) -> &SocketAddress {
        &self.address
    }
}

/// Whether a socket is there. Fails for anything else that is there.
fn existing_socket(socket: &Path) -> Result<bool, SocketError> {
    let what = match std::fs::symlink_metadata(socket).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_socket() => return Ok(true),
        Ok(kind) if kind.is_file() => "a regular file",
        Ok(kind) if kind.is_dir() => "a folder",
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(_) => "a device or pipe",
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(folder_error(socket, error)),
    };
    Err(SocketError::Occupied { socket: socket.into(), what })
}

fn open_lock(socket: &Path, path: &Path) -> Result<File, SocketError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // Any user that can open the file could lock agents out.
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|reason| match path.exists() {
            true => SocketError::Io { doing: "opening the lock file", path: path.into(), reason },
            false => folder_error(socket, reason),
        })
}

/// The problem of the socket's folder that explains `reason`.
pub(super) fn folder_error(socket: &Path, reason: io::Error) -> SocketError {
    let folder = folder(socket).to_owned();
    match std::fs::metadata(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => SocketError::NoFolder { folder },
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            SocketError::NotAFolder { folder }
        }
        Ok(metadata) if !metadata.is_dir() => SocketError::NotAFolder { folder },
        _ => {
            let uid = rustix::process::geteuid().as_raw();
            SocketError::NotWritable { folder, uid, reason }
        }
    }
}

/// The folder of a socket; the current one for a bare name.
pub(super) fn folder(socket: &Path) -> &Path {
    match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file in the same folder, with a longer name.
pub(super) fn beside(socket: &Path, after: &str) -> PathBuf {
    let mut name = socket.file_name().unwrap_or_default().to_owned();
    name.push(after);
    folder(socket).join(name)
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    // The other agent may not have written its pid yet.
    match lock.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The process that listens on a socket, if any does.
fn listener(socket: &Path) -> Option<i32> {
    let address = SocketAddrUnix::new(socket).ok()?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    match rustix::net::connect(&probe, &address) {
        Ok(()) => {
            Some(sockopt::socket_peercred(&probe).map_or(0, |peer| peer.pid.as_raw_nonzero().get()))
        }
        // A full queue is a listener too.
        Err(rustix::io::Errno::AGAIN) => Some(0),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn address(folder: &Path, name: &str) -> SocketAddress {
        SocketAddress::from_path(folder.join(name)).unwrap()
    }

    #[test]
    fn a_second_claim_hears_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(folder.path(), "agent.sock");
        let first = SocketLock::acquire(&address).unwrap();
        let error = SocketLock::acquire(&address).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        SocketLock::acquire(&address).unwrap();
    }

    #[test]
    fn the_socket_of_a_dead_agent_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(folder.path(), "agent.sock");
        drop(UnixListener::bind(address.path()).unwrap());
        assert!(address.path().exists());
        SocketLock::acquire(&address).unwrap();
    }

    #[test]
    fn a_socket_that_another_program_listens_on_is_refused_with_its_pid() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(folder.path(), "agent.sock");
        let _listener = UnixListener::bind(address.path()).unwrap();
        let error = SocketLock::acquire(&address).unwrap_err();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(error, SocketError::Foreign { pid, .. } if pid == own), "{error}");
    }

    #[test]
    fn an_agent_whose_sockets_the_kernel_still_closes_is_no_other_program() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(folder.path(), "agent.sock");
        let closing = UnixListener::bind(address.path()).unwrap();
        // It closes once somebody has met it.
        let closes = std::thread::spawn(move || drop(closing.accept().unwrap()));
        SocketLock::acquire(&address).unwrap();
        closes.join().unwrap();
    }

    #[test]
    fn a_regular_file_a_folder_and_a_link_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "precious").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        for (name, what) in
            [("file", "a regular file"), ("folder", "a folder"), ("link", "a symbolic link")]
        {
            let error = SocketLock::acquire(&address(folder.path(), name)).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"precious");
    }

    #[test]
    fn a_missing_folder_and_a_file_in_its_place_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = SocketLock::acquire(&address(folder.path(), "missing/agent.sock")).unwrap_err();
        assert!(matches!(&error, SocketError::NoFolder { folder } if folder.ends_with("missing")));
        let error = SocketLock::acquire(&address(folder.path(), "file/agent.sock")).unwrap_err();
        assert!(matches!(&error, SocketError::NotAFolder { folder } if folder.ends_with("file")));
    }

    #[test]
    fn a_folder_that_takes_no_files_is_named() {
        // No user can make a file in /proc/self.
        let error =
            SocketLock::acquire(&address(Path::new("/proc/self"), "agent.sock")).unwrap_err();
        assert!(matches!(&error, SocketError::NotWritable { .. }), "{error}");
    }
}
