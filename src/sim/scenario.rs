//! What a run simulates: servers, callers and load.

use std::time::Duration;

use super::{arrivals::Arrivals, server::Backend};

/// How the work of requests is spread around its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// As memoryless as it gets.
    Exponential,
    /// All the same.
    Constant,
}

/// Who sends requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerSpec {
    /// Where it runs, by the index of the zone.
    pub zone: usize,
    /// Whose counters it shares, by the index of the process.
    pub process: usize,
}

/// Servers, callers and load. Who chooses is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The servers.
    pub backends: Vec<Backend>,
    /// Who sends requests; each as often as the other.
    pub callers: Vec<CallerSpec>,
    /// When.
    pub arrivals: Arrivals,
    /// How the work is spread.
    pub work: Work,
    /// What comes before this is not measured: queues fill, averages settle.
    pub warm_up: Duration,
    /// How many requests are measured.
    pub requests: usize,
}

impl Scenario {
    /// Requests per second that all servers together can just serve.
    pub fn capacity(&self) -> f64 {
        self.backends.iter().map(Backend::capacity).sum()
    }
}
