//! The retry budget of a service on this node: a share of its requests and a number per second,
//! over the last ten seconds. Six libraries that each retry by their own rule make a retry storm.

use std::time::Duration;

use crate::{
    load::ring::{BUCKET, BUCKETS, Counts, Ring},
    policy::RetryPolicy,
};

/// The retries of the last ten seconds.
#[derive(Debug, Default)]
pub struct Retries {
    made: Ring,
}

impl Retries {
    pub fn observe(&mut self, now: Duration, retried: u32) {
        self.made.add(now, &Counts { ended: retried, ..Counts::default() });
    }

    /// The number of retries that callers may still make.
    pub fn left(&self, policy: &RetryPolicy, requests: &Ring, now: Duration) -> f64 {
        let window = BUCKET * BUCKETS as u32;
        let requests = f64::from(requests.sum(now, Duration::ZERO).ended);
        let allowed = requests * policy.ratio + policy.per_second * window.as_secs_f64();
        (allowed - f64::from(self.made.sum(now, Duration::ZERO).ended)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_may_be_retried() {
        let policy = RetryPolicy { ratio: 0.2, per_second: 10.0 };
        let now = Duration::from_secs(100);
        let (mut requests, mut retries) = (Ring::default(), Retries::default());
        assert_eq!(retries.left(&policy, &requests, now), 100.0);
        requests.add(now, &Counts { ended: 1000, ..Counts::default() });
        retries.observe(now, 50);
        assert_eq!(retries.left(&policy, &requests, now), 250.0);
        retries.observe(now, 500);
        assert_eq!(retries.left(&policy, &requests, now), 0.0);
        assert_eq!(retries.left(&policy, &requests, now + Duration::from_secs(10)), 100.0);
    }
}
