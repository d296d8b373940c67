//! A listening socket from the parent process (`$LISTEN_FDS`, systemd's socket activation). It outlives
//! the agent, so that callers wait for the next agent instead of being refused.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use listenfd::ListenFd;

/// Why the passed socket can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// More than one was passed.
    #[error("systemd passed {count} sockets ($LISTEN_FDS): pass exactly one")]
    Several { count: usize },
    /// Something else than a listening Unix socket was passed.
    #[error(
        "the passed socket ($LISTEN_FDS) is not a listening Unix stream socket with a path: write \
         ListenStream=/run/pointsman/agent.sock ({0})"
    )]
    Unfit(io::Error),
}

/// A listening socket from the parent process.
#[derive(Debug)]
pub struct PassedSocket {
    pub path: PathBuf,
    /// The socket, non-blocking.
    pub listener: UnixListener,
}

/// The passed socket, if any. Call it while there is one thread, since it changes the environment.
///
/// # Errors
/// See [`ActivationError`].
pub fn passed() -> Result<Option<PassedSocket>, ActivationError> {
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => return Ok(None),
        1 => {}
        count => return Err(ActivationError::Several { count }),
    }
    let listener = passed.take_unix_listener(0).map_err(ActivationError::Unfit)?;
    let Some(listener) = listener else { return Ok(None) };
    listener.set_nonblocking(true).map_err(ActivationError::Unfit)?;
    let address = listener.local_addr().map_err(ActivationError::Unfit)?;
    let path = address.as_pathname().map(Path::to_owned);
    let path = path.ok_or_else(|| ActivationError::Unfit(io::Error::other("it has no path")))?;
    Ok(Some(PassedSocket { path, listener }))
}
