//! The catalog as xDS resources, for clients that pick by themselves.
//!
//! - [`names`]: how resources are named; [`assignment`]: a port's endpoints; [`grpc`]: what stock gRPC
//!   needs beside them
//! - [`snapshot`]: [`Snapshot`], the resources of all services, in step with the catalog
//! - [`view`]: the part that a kind of client gets
//!
//! The protocol itself is the crate `xds`.

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod assignment;
pub mod grpc;
pub mod names;
pub mod snapshot;
pub mod view;

pub use snapshot::Snapshot;
pub use view::{ClientKind, View};
