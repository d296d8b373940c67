//! How long to wait after a failed request to the API server.

use std::time::Duration;

use rand::RngExt;

/// After the first failure. client-go's is 800 ms, but a node without endpoints waits for this.
const FIRST: Duration = Duration::from_millis(250);
/// After many failures; client-go's is 30 s. A shorter one finds a returning API server sooner, at
/// the cost of one refused connection each time. Range 1 s to 5 min.
const LONGEST: Duration = Duration::from_secs(10);
/// The least part of it, for jitter: all agents of a cluster lose the API server at the same time,
/// and must not return at the same time.
const LEAST_PART: f64 = 0.5;

/// A wait that grows with every failure, until a success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub(super) fn failed(&mut self) -> Duration {
        let part = rand::rng().random_range(LEAST_PART..=1.0);
        self.next().mul_f64(part)
    }

    fn next(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_longest_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        backoff.succeeded();
        let wait = backoff.failed();
        assert!(wait <= FIRST && wait >= FIRST / 2, "{wait:?}");
        backoff.failures = u32::MAX;
        assert!(backoff.failed() <= LONGEST);
    }
}
