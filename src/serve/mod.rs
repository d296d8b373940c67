//! Who asks: gRPC and HTTP/JSON on one Unix socket, and the admin pages beside it.
//!
//! - [`address`], [`claim`], [`listener`], [`group`]: where the socket is, whose it is, how it appears
//! - [`connections`]: accepts, says who called, ends in good order
//! - [`front`]: which protocol a request speaks; [`grpc`], [`http`]: the two there are
//! - [`delivery`]: what becomes of a pick whose answer gets lost
//! - [`calls`]: the calls themselves, alike for every protocol, a file each: `pick`, `report`,
//!   `list`, `get`, `explain`; [`limits`]: what they may ask for; [`error`]: what they hear if not
//! - [`names`]: from a name to its live table
//! - `adopt`: what an agent before this one tells of its leases
//! - [`metrics`], [`admin`]: what a person or Prometheus is told of the agent itself

pub mod address;
pub mod admin;
mod adopt;
pub mod calls;
pub mod claim;
pub mod connections;
pub mod delivery;
pub mod error;
mod explain;
pub mod front;
mod get;
pub mod group;
pub mod grpc;
pub mod http;
mod json;
pub mod limits;
mod list;
pub mod listener;
pub mod metrics;
pub mod names;
mod pick;
mod report;

pub use calls::{Agent, Caller};
pub use error::{Error, Violation};
