//! What was observed of a service's endpoints from this node: outcomes, latency, in flight.
//!
//! - [`ring`]: outcomes of the last ten seconds, in buckets of one
//! - [`service_time`]: the median that sets the publishing period
//! - [`busy`]: how many workers an endpoint keeps busy, by Little's law
//! - [`ages`]: which open requests are standing; [`standing`]: how old that is, and who hangs
//! - [`concurrency`]: how many others a request meets
//!
//! The publisher feeds differences of counters in, the planner reads; neither knows the other.

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

/// What happened at one endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointLoad {
    /// The last ten seconds.
    pub ring: Ring,
    /// Everything since the endpoint was first seen.
    pub total: Totals,
    /// In flight at the last sweep, in cost units.
    pub in_flight: u32,
    /// Of that, what is open for longer than the service's requests take.
    pub standing: u32,
}

/// Outcomes since an endpoint was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Judged a success.
    pub succeeded: u64,
    /// Judged a failure: failed, expired or unreachable.
    pub failed: u64,
    /// No connection; part of `failed`.
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

/// What was observed of a service as a whole.
#[derive(Clone, Debug, Default)]
pub struct ServiceLoad {
    /// Median of what requests take.
    pub service_time: ServiceTime,
    /// Workers an endpoint of the nearest group keeps busy.
    pub busy: BusyWorkers,
    /// The last ten seconds of all endpoints together.
    pub ring: Ring,
    /// How many others a request meets.
    pub concurrency: Concurrency,
    /// The part of requests that become standing, 0 to 1.
    pub part_standing: f64,
}
