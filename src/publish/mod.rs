//! From plans to tables: the publishing task and those who pick through the agent.
//!
//! - [`tables`]: [`Tables`], for all who want one; `cycle`: the thread that publishes them;
//!   `schedule`: when each is due; `share`: who may have how much of the thread
//! - `shared`: what the thread and all others share; `wake_event`: what it waits for; `wakeup`: which
//!   sleeping tables callers woke; `shortage`: which tables give way where files run out
//! - [`service_table`]: [`ServiceTable`], a table for a [`target`]; `callers`: those who pick through the socket;
//!   [`explanation`]: why a pick was made, or none
//! - [`service`]: [`ServicePublisher`], one service's cycle; also runs on virtual time
//! - [`segment`]: a table with its slots and attached counters; `segments`: it and those before it
//! - [`structure`]: a plan as a table's structure; `cell`: an endpoint's scores;
//!   `standing_load`: what of its load they count; [`period`]: how often, how much is believed;
//!   `rest`: when a table may sleep; [`retry`]: the retry budget; [`samples`]: the last picks

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
mod tables_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zone_tests;
