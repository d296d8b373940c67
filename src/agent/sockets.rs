//! Keeps the agent's two sockets in place: the one that it serves, and the take-over socket.

use std::{os::unix::net::UnixListener as StdUnixListener, sync::Mutex};

use tokio::net::UnixListener;

use super::start_error::{StartError, system};
use crate::socket::{
    listener::{self, Inode},
    lock::SocketLock,
};

/// The sockets' permissions, and the files that they are.
#[derive(Debug)]
pub(super) struct Sockets {
    mode: u32,
    group: Option<u32>,
    /// The socket that was passed to the agent. It is served and handed over as it is.
    pub(super) passed: Option<StdUnixListener>,
    /// The socket, and the take-over socket.
    files: Mutex<[Option<Inode>; 2]>,
}

impl Sockets {
    pub(super) fn new(mode: u32, group: Option<u32>, passed: Option<StdUnixListener>) -> Self {
        Self { mode, group, passed, files: Mutex::default() }
    }

    /// Makes each socket that is not in place, and returns those.
    pub(super) fn put_back(
        &self,
        socket_lock: &SocketLock,
    ) -> Result<(Option<UnixListener>, Option<UnixListener>), StartError> {
        let mut files = self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = socket_lock.address().path();
        let takeover_path = listener::takeover_path(path);
        let in_place = |path, file: &Option<Inode>| {
            file.as_ref().is_some_and(|file| listener::is_at(path, file))
        };
        // The take-over socket first, so that it exists when callers see the new socket.
        let mut takeover_socket = None;
        if !in_place(&takeover_path, &files[1]) {
            takeover_socket = Some(of_tokio(listener::bind_takeover(socket_lock)?)?);
            files[1] = Inode::of(&takeover_path).ok();
        }
        let mut socket = None;
        if self.passed.is_none() && !in_place(path, &files[0]) {
            socket = Some(of_tokio(listener::bind(socket_lock, self.mode, self.group)?)?);
            files[0] = Inode::of(path).ok();
        }
        Ok((socket, takeover_socket))
    }

    pub(super) fn passed(&self) -> Result<Option<UnixListener>, StartError> {
        let Some(passed) = &self.passed else { return Ok(None) };
        let same = passed.try_clone().map_err(system("the socket"))?;
        // The parent process may have made it blocking.
        same.set_nonblocking(true).map_err(system("the socket"))?;
        of_tokio(same).map(Some)
    }
}

fn of_tokio(listener: StdUnixListener) -> Result<UnixListener, StartError> {
    UnixListener::from_std(listener).map_err(system("the socket"))
}
