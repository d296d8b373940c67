//! A listening socket that is passed by who started the agent (`$LISTEN_FDS`, systemd's socket
//! activation): it outlives the agent, so that callers wait where they would be refused.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use listenfd::ListenFd;

/// Why what was passed can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The agent serves one.
    #[error("{count} sockets were passed ($LISTEN_FDS): the agent serves one")]
    Several {
        /// How many.
        count: usize,
    },
    /// Something else was passed.
    #[error(
        "what was passed ($LISTEN_FDS) is no listening Unix stream socket with a path: write \
         ListenStream=/run/pointsman/agent.sock ({0})"
    )]
    Unfit(io::Error),
}

/// A listening socket of who started the agent.
#[derive(Debug)]
pub struct PassedSocket {
    /// Where it is.
    pub path: PathBuf,
    /// The socket, not blocking.
    pub listener: UnixListener,
}

/// What was passed, if anything. While there is one thread, since it clears the environment.
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
