//! The calls, alike for every protocol, a file each.
//!
//! - `pick`, and [`pick_response`]: its answer
//! - `report`: how picked requests went
//! - `list`, `get`, `explain`: the services, their endpoints and their plans; `callers`: the callers' leases
//! - `watch`: the changes of a service, and `watch_events`: the same as a response body; `version`: the
//!   versions in these events
//! - `adopt`: takes over leases of the agent before this one
//!
//! They share [`Agent`], the state of all calls, and [`Caller`], a caller with its connection. [`delivery`] ends the
//! leases of an answer that gets lost. [`shutdown`] ends streams when the agent shuts down.
//! [`configuration`] has the problem of the configuration file, if there is one.

mod adopt;
mod agent;
mod callers;
pub mod configuration;
pub mod delivery;
mod explain;
mod get;
pub(super) mod list;
mod pick;
pub mod pick_response;
mod report;
pub mod shutdown;
mod version;
pub(super) mod watch;
pub(super) mod watch_events;

pub use agent::{Agent, Caller};
