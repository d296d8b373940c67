//! Leases: the names by which callers report how their picks went.
//!
//! A lease holds its pick's in-flight count. It ends with a report, by its time, soon after its
//! connection, or if its answer never reached the caller. So a caller that crashes does not count
//! as load for ever, and one that reports twice does not count twice.
//!
//! - A lease is 128 random bits: a caller that can't guess it can't end another caller's request.
//! - Only the identity that got a lease can report it. It may use any connection, since pools of
//!   clients report on other connections than they picked on.
//! - The lock of a shard is held over each change of a lease's entry, its deadline and the memory
//!   of its end. So a report, a renewal and an expiry at the same time can't disagree. There are
//!   sixteen shards, chosen by the lease's own random bits, to keep threads from waiting for each
//!   other.
//! - Nothing polls: [`Leases::run`] sleeps until the earliest deadline, or for ever if there is
//!   none.
//! - A pick that nobody will report has a lease, too. No caller gets its name.
//!
//! The files in reading order (each only needs those before it):
//!
//! - `id`: [`LeaseId`], the name of a lease; `report`: a [`Report`] about it, and the answer
//! - `lock`: locks what threads share; `next_look`: when the task that ends leases looks next
//! - `recently_ended`: which leases of a caller ended a short while ago; `owner`: [`Owner`], how many
//!   a caller has open; `tally`: [`Tally`], the counts of a service for the metrics
//! - `connection`: [`Connection`], the leases that end with it
//! - `lease_event`: what a successor is sent about a lease; `pending_changes`: what it has still to
//!   be sent; `early_reports`: reports that came before their lease was sent
//! - `open_lease`: a lease that has not ended; `shard`: a sixteenth of them, by deadline too
//! - `registry`: [`Leases`], which gives leases, takes reports about them, and withdraws them
//! - `expiry`: ends leases by their time, or with their connection
//! - `handoff`: [`Handoff`], hands leases over to a successor; `adoption`: takes them over
//! - `undelivered`: [`Undelivered`], ends the leases of an answer that gets lost

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

mod adoption;
mod connection;
mod early_reports;
mod expiry;
mod handoff;
mod id;
mod lease_event;
mod lock;
mod next_look;
mod open_lease;
mod owner;
mod pending_changes;
mod recently_ended;
mod registry;
mod report;
mod shard;
mod tally;
mod undelivered;

pub use adoption::AdoptedLease;
pub use connection::Connection;
pub use handoff::Handoff;
pub use id::LeaseId;
pub use lease_event::{HandedLease, LeaseEvent};
pub use owner::{Account, LeasePermit, Owner};
pub use registry::{AFTER_CONNECTION, DEFAULT_TTL, Holder, Leases, MAX_TTL};
pub use report::{Event, Report, Reported};
pub use tally::{OUTCOMES, Tally};
pub use undelivered::Undelivered;

#[cfg(test)]
mod tests;
