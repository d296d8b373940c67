//! Answers callers: gRPC and HTTP with JSON on one Unix socket, and the admin pages on TCP.
//!
//! In reading order (a room may only use those above it):
//!
//! - [`error`]: the errors of calls, the same over gRPC and HTTP
//! - [`limits`]: the bounds of requests, and their errors
//! - [`priority`]: lowers the priority of threads that do not serve picks
//! - [`counters`]: the counters of calls and connections
//! - [`isolation`]: keeps one caller from taking the agent from the others
//! - [`resolver`]: finds the live table of a service's name, if the caller may ask for it
//! - [`calls`]: the calls, the same for every protocol, a file each
//! - [`grpc`], [`http`]: the protocols of the calls; another protocol is a room beside them
//! - [`connection`]: accepts connections, dispatches their requests, and limits their waits
//! - [`pods`]: the listener of each pod that has its own folder
//! - [`metrics`]: the metrics of an agent for Prometheus
//! - [`admin`]: the pages for Kubernetes, Prometheus and people

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod admin;
pub mod calls;
pub mod connection;
pub mod counters;
pub mod error;
pub mod grpc;
pub mod http;
pub mod isolation;
pub mod limits;
pub mod metrics;
pub mod pods;
pub mod priority;
pub mod resolver;

pub use calls::{Agent, Caller};
pub use error::{Error, Violation};
