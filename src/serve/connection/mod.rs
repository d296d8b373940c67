//! Connections: from the socket to the calls.
//!
//! - [`accept`]: accepts them, says who called, ends each in good order
//! - `dispatch`: which protocol a request speaks; [`router`]: what is asked for less often
//! - `idle_timeout`: how long a request, or the rest of a frame, is waited for
//! - `tracked_io`: what is noted of a stream as it is read and written; `resting`: one that is left alone
//!   for a while
//! - `outgoing`: an answer's body, as its caller's share pays for it

pub mod accept;
mod dispatch;
mod idle_timeout;
mod outgoing;
mod resting;
pub mod router;
mod tracked_io;
