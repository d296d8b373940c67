//! What this node observed of a service's endpoints: outcomes, latency, requests in flight.
//!
//! - [`ring`]: the outcomes of the last ten seconds, in buckets of one second
//! - [`service_time`]: the median that sets the publishing period
//! - [`busy`]: how many workers an endpoint keeps busy, by Little's law
//! - [`ages`]: which open requests are standing; [`standing`]: from which age on they are, and
//!   which endpoints may be hanging
//! - [`concurrency`]: how many other requests a request meets
//!
//! The publisher adds the differences of counters, and the planner reads the results. Neither knows
//! the other.

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod ages;
pub mod busy;
pub mod concurrency;
pub mod ring;
pub mod service_time;
pub mod standing;

use std::time::Duration;

pub use ages::{Ages, Epoch, Turn};
pub use busy::BusyWorkers;
pub use concurrency::{Concurrency, Looks};
pub use ring::{BUCKETS, Counts, Newest, Ring};
pub use service_time::ServiceTime;
pub use standing::{Epochs, Hanging};

#[derive(Clone, Debug, Default)]
pub struct EndpointLoad {
    pub ring: Ring,
    pub total: Totals,
    /// What was in flight at the last sweep, in cost units.
    pub in_flight: u32,
    /// The part that has been open for longer than the service's requests take.
    pub standing: u32,
}

/// The outcomes since an endpoint was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were judged a success.
    pub succeeded: u64,
    /// Requests that were judged a failure: failed, expired or unreachable.
    pub failed: u64,
    /// The part of `failed` without a connection.
    pub unreachable: u64,
}

impl EndpointLoad {
    /// Adds what one sweep found new.
    pub fn observe(&mut self, now: Duration, new: &Counts) {
        self.ring.add(now, new);
        self.total.succeeded += u64::from(new.succeeded());
        self.total.failed += u64::from(new.failed);
        self.total.unreachable += u64::from(new.unreachable);
    }
}

#[derive(Clone, Debug, Default)]
pub struct ServiceLoad {
    pub service_time: ServiceTime,
    /// The workers that an endpoint of the nearest group keeps busy.
    pub busy: BusyWorkers,
    /// The outcomes of all endpoints together.
    pub ring: Ring,
    pub concurrency: Concurrency,
    /// The part of requests that become standing, 0 to 1.
    pub part_standing: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_of_an_endpoint_keep_what_its_ring_forgets() {
        let mut load = EndpointLoad::default();
        let counts = Counts { ended: 9, failed: 3, unreachable: 1, ..Counts::default() };
        load.observe(Duration::from_secs(1), &counts);
        load.observe(Duration::from_secs(1_000), &counts);
        assert_eq!(load.total, Totals { succeeded: 12, failed: 6, unreachable: 2 });
        assert_eq!(load.ring.sum(Duration::from_secs(1_000), Duration::ZERO), counts);
    }
}
