//! When requests come.

use super::{
    queue::Nanos,
    rng::{Purpose, RandomStream},
};

/// How load arises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Requests come whether or not earlier ones are done: so many a second, memoryless.
    Open {
        /// Requests per second.
        rate: f64,
    },
    /// Every caller has just one request under way, and sends the next when it ends.
    Closed,
}

/// The gaps of an open loop.
pub(super) struct Poisson {
    mean: f64,
    gaps: RandomStream,
}

impl Poisson {
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self { mean: 1e9 / rate, gaps: RandomStream::new(seed, Purpose::Gaps) }
    }

    /// Time to the next arrival.
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
