//! One agent takes over from another (`--takeover`), without a pick failing.
//!
//! | | the new one (`take`) | the old one (`give`) |
//! |---|---|---|
//! | 1 | waits until its own sources have answered | serves |
//! | 2 | asks, on a socket that only the agent's user can open | |
//! | 3 | | writes its state no more; sends who is put aside, the open leases, and the lock |
//! | 4 | counts the leases, renames its sockets over | serves |
//! | 5 | serves, and says so | |
//! | 6 | | gives the lock up; sends its connections over, and what is still reported to it |
//! | 7 | serves | ends with its last connection, or after [`LINGER`] |
//!
//! The lock is the kernel's, on one open file that both have from 3 to 6: there is no moment at
//! which nobody holds it. Whichever of the two dies, the other still has it. Up to 5 the old one
//! goes back to what it was as soon as the new one is gone, and puts its sockets back in place.

use std::{io, path::PathBuf, time::Duration};

mod give;
mod message;
mod take;
mod wire;

pub(super) use give::{Giver, Successor};
pub(super) use take::{Hearing, Heir, take};

/// How long the sources of the new agent may take: long enough for a cluster's API server to be
/// found slow, short enough for who watches a roll-out.
pub const SOURCES_LIMIT: Duration = Duration::from_secs(30);

/// How long the old agent may take for each of its answers: it needs milliseconds, unless it hangs.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long the old agent serves those who stay connected to it. Kubernetes kills after 30 s.
pub const LINGER: Duration = Duration::from_secs(25);

/// How long callers may still arrive at the old agent: who looked the socket up just before it
/// was replaced.
pub const LAST_CALLERS: Duration = Duration::from_millis(200);

/// Why an agent could not take over. The one before serves on as it did.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Its own sources are not ready.
    #[error(
        "not taking over from pid {pid}, which serves on: no answer within {} s from {}",
        SOURCES_LIMIT.as_secs(),
        sources.join(", ")
    )]
    Sources {
        /// The one before.
        pid: String,
        /// Those that did not answer.
        sources: Vec<String>,
    },
    /// It does not hear.
    #[error("pid {pid} can't be asked to hand over on {socket}: {reason}")]
    Deaf {
        /// The one before.
        pid: String,
        /// Its socket for this.
        socket: PathBuf,
        /// As the kernel says.
        reason: io::Error,
    },
    /// It does not answer.
    #[error(
        "pid {pid} did not hand over within {} s: it hangs, or hands over to another agent; \
         nothing has changed. If it hangs, end it (kill -9 {pid}), and start without --takeover",
        ANSWER_LIMIT.as_secs()
    )]
    Hung {
        /// The one before.
        pid: String,
    },
    /// It does not want to.
    #[error("pid {pid} does not hand over: {why}")]
    Refused {
        /// The one before.
        pid: String,
        /// As it says.
        why: String,
    },
    /// What it says can't be meant so.
    #[error("pid {pid} hands over what this agent can't take: {why}")]
    InvalidRecord {
        /// The one before.
        pid: String,
        /// What is wrong.
        why: String,
    },
}
