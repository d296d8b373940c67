//! One agent takes over from another (`--takeover`), without a pick that fails.
//!
//! | | the new one (`successor`) | the old one (`predecessor`) |
//! |---|---|---|
//! | 1 | waits until its own sources have answered | serves |
//! | 2 | connects to the take-over socket, which only the agent's user can open | |
//! | 3 | | stops writing its state; sends ejected endpoints, open leases and the lock |
//! | 4 | takes the leases over, renames its sockets into place | serves |
//! | 5 | serves, and reports it | |
//! | 6 | | drops the lock; moves its connections, and forwards reports that it still gets |
//! | 7 | serves | ends with its last connection, or after [`LINGER`] |
//!
//! The lock is the kernel's, on an open file that both agents share from 3 to 6, so that it is never
//! free. If one agent dies, the other still has it. If the new agent dies before 5, the old one resumes,
//! and puts its sockets back in place.

use std::{io, path::PathBuf, time::Duration};

mod channel;
mod message;
mod predecessor;
mod successor;

pub(super) use predecessor::{Predecessor, SuccessorLink};
pub(super) use successor::{PredecessorEvents, Successor, take};

/// How long the sources of the new agent may take: long enough for a slow API server, short enough for a
/// person who watches a roll-out.
pub const SOURCES_LIMIT: Duration = Duration::from_secs(30);

/// How long the old agent may take for each answer. It needs milliseconds unless it hangs.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long the old agent serves the connections that stay. Kubernetes kills after 30 s.
pub const LINGER: Duration = Duration::from_secs(25);

/// How long the old agent still accepts: callers may have looked the socket up just before it was
/// replaced.
pub const LAST_CALLERS: Duration = Duration::from_millis(200);

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
