//! Turns plans into tables. The publishing thread writes them, and the callers of the agent's socket
//! pick from them.
//!
//! - [`tables`]: [`Tables`], the live tables; `cycle`: the thread that publishes them; `schedule`:
//!   when each is due; `tick`: how often the thread wakes up; `share`: each holder's share of its
//!   time
//! - `shared`: what that thread and all others share; `wake_event`: what it waits for; `wakeup`:
//!   the sleeping tables that callers woke; `shortage`: the tables to give up if files or memory
//!   run out
//! - [`service_table`]: [`ServiceTable`], the table of a [`target`]; `routing`: its endpoints or its
//!   virtual IP, by the mode; `pick_options`: what a pick is asked for; `callers`: the callers of the
//!   socket, and what they have in flight; `pick_state`: what their picks share; `witnesses`: whether a failure counts for all callers; `verdicts`: endpoints that one
//!   caller avoids; [`explanation`]: why a pick was made, or why none was
//! - [`service`]: [`ServicePublisher`], the cycle of one service; it also runs on virtual time
//! - [`segment`]: one table with its slots and attached counters; `segments`: it and the superseded
//!   ones
//! - [`structure`]: a plan as the structure of a table; `cell`: the scores of an endpoint;
//!   `standing_load`: the load that scores count; [`period`]: the time between publications;
//!   `rest`: when a table may sleep; `usual_time`: how long requests usually take; [`retry`]: the retry budget; [`samples`]: the last picks

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

mod callers;
mod cell;
mod cycle;
pub mod explanation;
pub mod period;
mod pick_options;
mod pick_state;
mod rest;
pub mod retry;
mod routing;
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
mod usual_time;
mod verdicts;
pub mod wake_event;
mod wakeup;
mod witnesses;

pub use callers::{InFlightGuard, PickedEndpoints};
pub use explanation::{Avoided, CellView, EndpointStatus, Explanation, NoEndpoint};
pub use pick_options::PickOptions;
pub use pointsman_table::{Outcome, ServerLoad};
pub use routing::Routing;
pub use samples::Sample;
pub use segment::{MOST_COST, Memory};
pub use service::{Pass, ServicePublisher, Setup};
pub use service_table::ServiceTable;
pub use shared::{Judgements, Numbers};
pub use tables::Tables;
pub use target::{Target, TargetKind};

#[cfg(test)]
mod callers_tests;
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
