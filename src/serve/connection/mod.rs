//! Connections: from the socket to the calls.
//!
//! - [`accept`]: accepts connections, identifies the caller, and closes each connection gracefully
//! - `dispatch`: finds out which protocol a request speaks, and has it answered
//! - `idle_timeout`: limits the wait for a request, or for the rest of a frame
//! - `tracked_io`: watches what a connection reads and writes; `throttled_io`: pauses a connection
//!   whose caller was refused often
//! - `response_body`: charges a response's bytes to its caller until they are sent

pub mod accept;
mod dispatch;
mod idle_timeout;
mod response_body;
mod throttled_io;
mod tracked_io;
