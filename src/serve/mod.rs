//! Who asks: gRPC and HTTP/JSON on one Unix socket, and the admin pages beside it.
//!
//! - [`pods`]: a listener for each pod that has a folder of its own
//! - [`connections`]: accepts, says who called, ends in good order;
//!   [`ending`]: what streams hear of it
//! - `talk`: which protocol a request speaks; [`grpc`], [`http`]: the two there are; [`front`]:
//!   what is asked for less often; `openapi`: how HTTP has it all, described
//! - [`delivery`]: what becomes of a pick whose answer gets lost; `patience`: how long a request, or
//!   the rest of a frame, is waited for; `noted`: what the stream tells the two; `timely`: how long
//!   the rest of a stream's message is
//! - [`calls`]: the calls themselves, alike for every protocol, a file each: `pick`, whose answer is
//!   [`picked`] and written by `wire`, `report`, `list`, `get`, `explain`, `callers`; `session`, a stream of
//!   picks and reports; `watch` and, as a body, its
//!   `events`, each with a `version`; [`limits`]: what they may ask for; [`error`]: what they hear if not
//! - `standard`: what gRPC's own tools ask of any server: health and reflection
//! - [`resolver`]: from a name to its live table, for who may ask for it
//! - [`isolation`]: what keeps one caller from taking the agent from the others; `outgoing`: answers that
//!   count; `resting`: the connection of who waits
//! - `adopt`: what an agent before this one tells of its leases
//! - [`priority`]: threads that give way to those that serve
//! - [`counters`]: what is counted; [`metrics`], [`admin`]: what a person or Prometheus is told of the agent itself;
//!   [`configuration`]: whether its file holds

pub mod admin;
mod adopt;
mod callers;
pub mod calls;
pub mod configuration;
pub mod connections;
pub mod counters;
pub mod delivery;
pub mod ending;
pub mod error;
mod events;
mod explain;
pub mod front;
mod get;
pub mod grpc;
pub mod http;
pub mod isolation;
mod json;
pub mod limits;
mod list;
pub mod metrics;
mod noted;
mod openapi;
mod outgoing;
mod patience;
mod pick;
pub mod picked;
pub mod pods;
pub mod priority;
mod report;
pub mod resolver;
mod resting;
mod session;
mod standard;
mod talk;
mod timely;
mod version;
mod watch;
mod wire;

pub use calls::{Agent, Caller};
pub use error::{Error, Violation};
