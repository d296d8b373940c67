//! The calls, alike for every protocol, a file each.
//!
//! - `pick`, and [`pick_response`]: its answer
//! - `report`: how picked requests went
//! - `list`, `get`, `explain`: what is known; `callers`: who has leases
//! - `watch`: what changes, and as a body, its `watch_events`; `version`: the versions
//!   that they tell
//! - `adopt`: what an agent before this one tells of its leases
//!
//! What they share: [`Agent`], the state of all of them, and [`Caller`], who is calling;
//! [`delivery`]: what becomes of a pick whose answer gets lost; [`shutdown`]: what streams hear of the
//! agent's end; [`configuration`]: whether its file holds.

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
