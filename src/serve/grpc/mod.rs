//! The calls over gRPC.
//!
//! - `service`: from a request to its call and back; `session`: a stream of picks and reports
//! - `framing`: what gRPC puts before a message and behind the last; `message_timeout`: how long the
//!   rest of a message is waited for; `shutdown_body`: a stream that the agent's end cuts off
//! - `protobuf_encode`: how protobuf is written without a message; `pick_response`: a pick's answer so
//! - `health_and_reflection`: what gRPC's own tools ask of any server: `health` and `reflection`

mod framing;
mod health;
pub(super) mod health_and_reflection;
mod message_timeout;
mod pick_response;
pub(super) mod protobuf_encode;
mod reflection;
mod service;
mod session;
mod shutdown_body;

pub use service::{RequestHead, answer, is_grpc};
