//! Connections: from the socket to the calls.
//!
//! - [`accept`]: accepts them, says who called, ends each in good order
//! - `dispatch`: which protocol a request speaks; [`router`]: what is asked for less often
//! - `idle_timeout`: how long a request, or the rest of a frame, is waited for
//! - `tracked_io`: what is noted of a stream as it is read and written; `throttled_io`: one that is left alone
//!   for a while
//! - `response_body`: an answer's body, as its caller's share pays for it

pub mod accept;
mod dispatch;
mod idle_timeout;
mod response_body;
pub mod router;
mod throttled_io;
mod tracked_io;
