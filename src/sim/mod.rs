//! The shipped planner, publisher and picker on virtual time, beside the simplest rivals.
//!
//! In reading order:
//!
//! - [`queue`]: what happens next; virtual time
//! - [`chance`]: random numbers, one stream a purpose, so that rivals meet the same requests
//! - [`server`]: an endpoint with its workers and its queue
//! - [`arrivals`]: when requests come
//! - [`chooser`]: who decides where a request goes: random, exact two choices
//! - [`own_counts`]: the shipped picker alone; [`shipped`]: with its agents; [`arm`]: one of all
//! - [`scenario`]: servers, callers and load; [`scenario::run`] is the whole simulator
//! - [`outcome`]: what a run came to
//! - [`batch`]: many runs over the cores, several seeds each
//!
//! Nothing here reads a clock, and one seed gives one result to the last bit.

pub mod arm;
pub mod arrivals;
pub mod batch;
pub mod chance;
pub mod chooser;
pub mod outcome;
pub mod own_counts;
pub mod queue;
pub mod scenario;
pub mod server;
pub mod shipped;

pub use queue::Nanos;
