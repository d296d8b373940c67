//! Why an agent could not start.

use std::{io, net::SocketAddr, path::PathBuf};

use super::takeover::error::TakeoverError;
use crate::socket::{address::SocketAddress, lock::SocketError};

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket is not available.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address of the admin pages is not available.
    #[error("admin address {address}: {reason}; choose another with --admin")]
    Admin { address: SocketAddr, reason: io::Error },
    /// The socket that was passed has another path.
    #[error(
        "the passed socket ($LISTEN_FDS) is {passed}, but --socket is {asked}: give both the same \
         path"
    )]
    AnotherSocket {
        /// The socket that was passed.
        passed: PathBuf,
        asked: SocketAddress,
    },
    /// The configuration is wrong, and another agent already serves.
    #[error(
        "the configuration is wrong, so the running agent (pid {pid}) continues to serve; {problem}"
    )]
    Configuration {
        /// The process of the other agent.
        pid: String,
        problem: String,
    },
    /// The other agent does not hand over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The system refused a thread, a signal handler or a descriptor.
    #[error("cannot start {what}: {reason}")]
    System { what: &'static str, reason: io::Error },
}

pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |reason| StartError::System { what, reason }
}
