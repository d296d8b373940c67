//! Who asks: gRPC and HTTP/JSON on one Unix socket, and the admin pages beside it.
//!
//! In reading order, from what is said to who says it (a room may only use those above it):
//!
//! - [`error`]: what a caller hears when a call fails
//! - [`limits`]: what may be asked for, and the errors that say so
//! - [`priority`]: threads that give way to those that serve
//! - [`counters`]: what is counted of the calls
//! - [`isolation`]: what keeps one caller from taking the agent from the others
//! - [`resolver`]: from a name to its live table, for who may ask for it
//! - [`calls`]: the calls, alike for every protocol, a file each
//! - [`grpc`], [`http`]: the protocols that they come by; another is a room beside them
//! - [`connection`]: from the socket to the calls: accepts, dispatches, and waits for so long
//! - [`pods`]: a listener for each pod that has a folder of its own
//! - [`metrics`]: all that Prometheus reads of an agent
//! - [`admin`]: the pages for Kubernetes, Prometheus and people

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
