//! Why an agent could not take over, and how long it waits before it gives up.

use std::{io, path::PathBuf, time::Duration};

/// How long the sources of the new agent may take: long enough for a slow API server, short enough for a
/// person who watches a roll-out.
pub(super) const SOURCES_LIMIT: Duration = Duration::from_secs(30);

/// How long the old agent may take for each answer. It needs milliseconds unless it hangs.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Why an agent could not take over. The other agent serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Its own sources are not ready.
    #[error(
        "not taking over from pid {pid}, which continues to serve: no answer within {} s from {}",
        SOURCES_LIMIT.as_secs(),
        sources.join(", ")
    )]
    Sources {
        pid: String,
        /// Those that did not answer.
        sources: Vec<String>,
    },
    /// The other agent's take-over socket can't be reached.
    #[error("cannot ask pid {pid} to hand over on {socket}: {reason}")]
    Unreachable { pid: String, socket: PathBuf, reason: io::Error },
    /// The other agent does not answer.
    #[error(
        "pid {pid} did not hand over within {} s: it hangs, or hands over to another agent; \
         nothing has changed. If it hangs, end it (kill -9 {pid}), and start without --takeover",
        ANSWER_LIMIT.as_secs()
    )]
    TimedOut { pid: String },
    #[error("pid {pid} does not hand over: {why}")]
    Refused {
        pid: String,
        /// The reason that it gives.
        why: String,
    },
    /// The other agent sent an invalid message.
    #[error("pid {pid} sent an invalid message: {why}")]
    BadMessage { pid: String, why: String },
}
