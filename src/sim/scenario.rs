//! What a run simulates: servers, callers and load.

use std::time::Duration;

use super::{arrivals::Arrivals, server::Backend};

/// How the work of requests is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Exponentially.
    Exponential,
    /// All requests have the same work.
    Constant,
}

/// A caller: a thread that sends requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerSpec {
    /// The index of its zone.
    pub zone: usize,
    /// The index of its process. Callers of a process share counters.
    pub process: usize,
}

/// Servers, callers and load. The chooser is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The servers.
    pub backends: Vec<Backend>,
    /// The callers. All send equally often.
    pub callers: Vec<CallerSpec>,
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// How the work of requests is distributed.
    pub work: Work,
    /// Requests before this time are not measured: queues fill, and averages settle.
    pub warm_up: Duration,
    /// How many requests are measured.
    pub requests: usize,
}

impl Scenario {
    /// The most requests per second that all servers together can serve.
    pub fn capacity(&self) -> f64 {
        self.backends.iter().map(Backend::capacity).sum()
    }
}
