//! When requests arrive.

use super::{
    queue::Nanos,
    rng::{Purpose, RandomStream},
};

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// An open loop: Poisson arrivals, independent of the requests before.
    Open {
        /// Requests per second.
        rate: f64,
    },
    /// A closed loop: each caller has one request in flight, and sends the next one when it ends.
    Closed,
}

/// Generates the gaps between arrivals of an open loop.
pub(super) struct Poisson {
    mean: f64,
    gaps: RandomStream,
}

impl Poisson {
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self { mean: 1e9 / rate, gaps: RandomStream::new(seed, Purpose::Gaps) }
    }

    /// The time to the next arrival.
    pub(super) fn gap(&mut self) -> Nanos {
        (self.gaps.exponential() * self.mean) as Nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_keeps_its_rate() {
        let mut poisson = Poisson::new(1_000.0, 3);
        let total: Nanos = (0..100_000).map(|_| poisson.gap()).sum();
        let rate = 100_000.0 / (total as f64 / 1e9);
        assert!((rate - 1_000.0).abs() < 15.0, "{rate}");
    }
}
