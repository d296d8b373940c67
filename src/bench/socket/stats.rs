//! The transports of calls, and what callers measure.

use std::time::Duration;

use hdrhistogram::Histogram;

/// How calls are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Transport {
    /// A gRPC call for each, on one connection.
    Unary,
    /// On one stream, one call in a message.
    Session,
    /// On one stream, all calls in flight in one message.
    Batches,
    /// HTTP/1.1 with keep-alive, a connection for each call in flight.
    Http,
}

/// What a caller measured. Its calls alternate between picks and reports.
#[derive(Debug)]
pub(super) struct CallStats {
    /// The time from a call to its answer, in nanoseconds.
    pub(super) took: Histogram<u64>,
    pub(super) calls: u64,
    pub(super) elapsed: Duration,
}

impl CallStats {
    pub(super) fn empty() -> Self {
        let took = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds");
        Self { took, calls: 0, elapsed: Duration::ZERO }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.took.add(&other.took).expect("the same bounds");
        self.calls += other.calls;
        self.elapsed += other.elapsed;
    }

    pub(super) fn add_call(&mut self, took: Duration) {
        self.took.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.calls += 1;
    }

    pub(super) fn p50(&self) -> f64 {
        self.took.value_at_quantile(0.5) as f64 / 1e3
    }

    pub(super) fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}
