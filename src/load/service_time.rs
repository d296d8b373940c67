//! How long requests of a service take: the median of recent ones.
//!
//! It sets how often load is published (old counts herd callers once they are older than the
//! service time) and by how much what is published is shrunk. The median, since a few slow
//! requests must not make everything else wait for fresh counts.

use std::time::Duration;

/// Half of an old observation's weight is gone after about this many newer requests.
const HALF_LIFE_REQUESTS: f64 = 500.0;

/// Decaying histogram of latencies by the buckets of the counters.
#[derive(Clone, Debug, Default)]
pub struct ServiceTime {
    weights: Vec<f32>,
    median: Option<Duration>,
}

impl ServiceTime {
    /// Adds how many requests newly ended in each bucket; `upper_us` gives a bucket's upper bound in
    /// microseconds.
    pub fn observe(&mut self, new: &[u64], upper_us: impl Fn(usize) -> u64) {
        let count: u64 = new.iter().sum();
        if count == 0 {
            return;
        }
        self.weights.resize(new.len(), 0.0);
        let keep = 0.5f64.powf(count as f64 / HALF_LIFE_REQUESTS) as f32;
        for (weight, new) in self.weights.iter_mut().zip(new) {
            *weight = *weight * keep + *new as f32;
        }
        let half = self.weights.iter().sum::<f32>() / 2.0;
        let mut below = 0.0;
        self.median = self
            .weights
            .iter()
            .position(|weight| {
                below += weight;
                below >= half
            })
            .map(|bucket| {
                // The middle of the bucket that holds the median.
                let low = if bucket == 0 { 0 } else { upper_us(bucket - 1) };
                Duration::from_micros((low + upper_us(bucket)) / 2)
            });
    }

    /// None before the first timed request.
    pub fn median(&self) -> Option<Duration> {
        self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(bucket: usize) -> u64 {
        1000 << bucket
    }

    #[test]
    fn the_median_lies_in_the_bucket_of_the_middle_request() {
        let mut time = ServiceTime::default();
        assert_eq!(time.median(), None);
        time.observe(&[1, 5, 1, 0], upper);
        assert_eq!(time.median(), Some(Duration::from_micros(1500)));
    }

    #[test]
    fn the_median_follows_a_service_that_became_slow() {
        let mut time = ServiceTime::default();
        time.observe(&[1000, 0, 0, 0], upper);
        for _ in 0..20 {
            time.observe(&[0, 0, 0, 100], upper);
        }
        assert_eq!(time.median(), Some(Duration::from_micros(6000)));
    }
}
