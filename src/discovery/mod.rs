//! The catalog as xDS resources, in a form for each kind of client.
//!
//! - [`client`]: what kind a client is; [`names`]: how resources are named
//! - [`assignment`]: a port's endpoints; [`grpc`] and [`envoy`]: what these need beside them
//! - [`agent`]: what agents are told, and how they read it; [`proto`]: its messages
//! - [`snapshot`]: [`Snapshot`], the resources of all services in each form, in step with the catalog
//! - [`view`]: the part that a client gets
//!
//! The protocol itself is the crate `xds`.

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod agent;
pub mod assignment;
pub mod client;
pub mod envoy;
pub mod grpc;
pub mod names;
pub mod proto;
pub mod snapshot;
pub mod view;

pub use client::{Client, ClientKind};
pub use snapshot::Snapshot;
pub use view::View;
