//! Simulates the real planner, publisher and picker on virtual time, beside simple rivals.
//!
//! In reading order:
//!
//! - [`queue`]: events in order of virtual time
//! - [`rng`]: random numbers, a stream for each purpose, so that all rivals get the same requests
//! - [`server`]: an endpoint with its workers and its queue
//! - [`arrivals`]: when requests arrive
//! - [`scenario`]: servers, callers and load
//! - [`chooser`]: decides where a request goes; random choice and exact two choices
//! - [`own_counts`]: the picker alone; [`pointsman`]: the picker with its agents
//! - [`simulator`]: runs a scenario with a chooser; [`outcome`]: what the run measured
//! - [`arm`]: one chooser of all, by name
//! - [`batch`]: many runs on all cores; [`estimate`]: a mean over seeds, with its standard error
//!
//! Nothing here reads a clock. The same seed gives the same result to the last bit.

pub mod arm;
pub mod arrivals;
pub mod batch;
pub mod chooser;
pub mod estimate;
pub mod outcome;
pub mod own_counts;
pub mod pointsman;
pub mod queue;
pub mod rng;
pub mod scenario;
pub mod server;
pub mod simulator;

pub use queue::Nanos;
