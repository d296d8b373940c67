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

use std::time::Duration;

mod channel;
pub(super) mod error;
mod message;
mod predecessor;
mod successor;

pub use error::TakeoverError;
pub(super) use predecessor::{Predecessor, SuccessorLink};
pub(super) use successor::{PredecessorEvents, Successor, take};

/// How long the old agent serves the connections that stay. Kubernetes kills after 30 s.
pub const LINGER: Duration = Duration::from_secs(25);

/// How long the old agent still accepts: callers may have looked the socket up just before it was
/// replaced.
pub const LAST_CALLERS: Duration = Duration::from_millis(200);
