//! The calls over gRPC.
//!
//! - `service`: turns a request into its call and back; `session`: a stream of picks and reports
//! - `framing`: gRPC's message prefix and trailers; `message_timeout`: limits the wait for the rest of
//!   a message; `shutdown_body`: ends a stream when the agent shuts down
//! - `protobuf_encode`: writes protobuf without building a message; `pick_response`: a pick's answer
//! - `health_and_reflection`: the services that gRPC's own tools ask for, `health` and `reflection`

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
