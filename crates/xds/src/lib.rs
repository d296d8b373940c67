//! xDS without IO: what a server and a client say to each other, message in and message out.
//!
//! Read in this order:
//!
//! - [`proto`]: the messages, with the interface's numbers
//! - [`resource`]: one resource, and its [`Version`]; [`resource_type`]: the types and their order
//! - [`published`]: what a server publishes, and what changed since a moment
//! - [`server`]: one stream of a server, incremental ([`server::DeltaStream`]) or state of the world
//!   ([`server::SotwStream`])
//! - [`client`]: the client's end of an incremental stream ([`client::DeltaClient`])
//!
//! A stream has no queue of messages. Its owner takes the next message when the connection has room,
//! and the message says what is true at that moment. So a slow client gets the latest state of each
//! resource once, and holds no memory for the states between.

#![forbid(unsafe_code)]

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod client;
pub mod proto;
pub mod published;
pub mod resource;
pub mod resource_type;
pub mod server;

pub use published::{Published, Resources};
pub use resource::{Name, Resource, Version};
