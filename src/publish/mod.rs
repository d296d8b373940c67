//! Turns plans into tables. The publishing thread writes them, and the callers of the agent's socket
//! pick from them.
//!
//! - [`tables`]: [`Tables`], the live tables; `cycle`: the thread that publishes them; `schedule`:
//!   when each is due; `tick`: how often the thread wakes up; `share`: each holder's share of its
//!   time
//! - `shared`: what that thread and all others share; `wake_event`: what it waits for; `wakeup`:
//!   the sleeping tables that callers woke; `shortage`: the tables to give up if files or memory
//!   run out
//! - [`service_table`]: [`ServiceTable`], the table of a [`target`]; `callers`: the callers of the
//!   socket; `witnesses`: whether a failure counts for all callers; `verdicts`: endpoints that one
//!   caller avoids; [`explanation`]: why a pick was made, or why none was
//! - [`service`]: [`ServicePublisher`], the cycle of one service; it also runs on virtual time
//! - [`segment`]: one table with its slots and attached counters; `segments`: it and the superseded
//!   ones
//! - [`structure`]: a plan as the structure of a table; `cell`: the scores of an endpoint;
//!   `standing_load`: the load that scores count; [`period`]: the time between publications;
//!   `rest`: when a table may sleep; [`retry`]: the retry budget; [`samples`]: the last picks

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

mod callers;
mod cell;
mod cycle;
pub mod explanation;
pub mod period;
mod rest;
pub mod retry;
pub mod samples;
mod schedule;
pub mod segment;
mod segments;
pub mod service;
pub mod service_table;
mod share;
mod shared;
mod shortage;
mod standing_load;
pub mod structure;
pub mod tables;
pub mod target;
mod tick;
mod verdicts;
pub mod wake_event;
mod wakeup;
mod witnesses;

pub use callers::InFlightGuard;
pub use explanation::{Avoided, CellView, EndpointStatus, Explanation, NoEndpoint};
pub use pointsman_table::{Outcome, ServerLoad};
pub use samples::Sample;
pub use segment::{MOST_COST, Memory};
pub use service::{Pass, ServicePublisher, Setup};
pub use service_table::{PickOptions, PickedEndpoints, Routing, ServiceTable};
pub use shared::{Judgements, Numbers};
pub use tables::Tables;
pub use target::{Target, TargetKind};

#[cfg(test)]
mod cycle_tests;
#[cfg(test)]
mod growth_tests;
#[cfg(test)]
mod judgement_tests;
#[cfg(test)]
mod modes_tests;
#[cfg(test)]
mod table_content_tests;
#[cfg(test)]
mod tables_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zone_tests;
