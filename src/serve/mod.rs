//! Who asks: gRPC and HTTP/JSON on one Unix socket, and the admin pages beside it.
//!
//! - [`pods`]: a listener for each pod that has a folder of its own
//! - [`connections`]: accepts, says who called, ends in good order
//! - `talk`: which protocol a request speaks; [`grpc`], [`http`]: the two there are; [`front`]:
//!   what is asked for less often
//! - `patience`: how long a request, or the rest of a frame, is waited for; `noted`: what is noted of the
//!   stream
//! - [`calls`]: the calls themselves, alike for every protocol, a file each;
//!   [`limits`]: what they may ask for; [`error`]: what they hear if not
//! - [`resolver`]: from a name to its live table, for who may ask for it
//! - [`isolation`]: what keeps one caller from taking the agent from the others; `outgoing`: answers that
//!   count; `resting`: the connection of who waits
//! - [`priority`]: threads that give way to those that serve
//! - [`counters`]: what is counted; [`metrics`], [`admin`]: what a person or Prometheus is told of the agent itself

pub mod admin;
pub mod calls;
pub mod connections;
pub mod counters;
pub mod error;
pub mod front;
pub mod grpc;
pub mod http;
pub mod isolation;
pub mod limits;
pub mod metrics;
mod noted;
mod outgoing;
mod patience;
pub mod pods;
pub mod priority;
pub mod resolver;
mod resting;
mod talk;

pub use calls::{Agent, Caller};
pub use error::{Error, Violation};
