//! Estimates how long requests of a service take: the median of recent ones.
//!
//! The median sets how often load is published, since counts that are older than the service time
//! send all callers to the same endpoint. It also sets by how much published counts shrink. It is
//! the median, because a few slow requests must not make all others wait for fresh counts.
//!
//! The longest service time is found by time: requests longer than it took at most a hundredth of
//! the time of all requests. A few requests that work for seconds are part of what a service does,
//! and must not be taken for idle streams, however few they are.

use std::time::Duration;

/// After about this many newer requests, an old observation has half of its weight.
const HALF_LIFE_REQUESTS: f64 = 500.0;

/// The part of all time that requests longer than the longest service time may take.
const BEYOND: f64 = 0.01;

/// A decaying histogram of latencies, with the buckets of the counters.
#[derive(Clone, Debug, Default)]
pub struct ServiceTime {
    weights: Vec<f32>,
    median: Option<Duration>,
    longest: Option<Duration>,
}

impl ServiceTime {
    /// Adds the requests that newly ended in each bucket. `upper_us` gives a bucket's upper bound
    /// in microseconds.
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
        let time = |(bucket, weight): (usize, &f32)| f64::from(*weight) * upper_us(bucket) as f64;
        let most = self.weights.iter().enumerate().map(time).sum::<f64>() * BEYOND;
        let mut beyond = 0.0;
        let longest = self.weights.iter().enumerate().rev().find(|each| {
            beyond += time(*each);
            beyond > most
        });
        self.longest = longest.map(|(bucket, _)| Duration::from_micros(upper_us(bucket)));
    }

    /// The median; None before the first timed request.
    pub fn median(&self) -> Option<Duration> {
        self.median
    }

    /// The longest service time, without the longest requests that took a hundredth of all time;
    /// None before the first timed request.
    pub fn longest(&self) -> Option<Duration> {
        self.longest
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
    fn a_few_that_take_long_are_among_the_longest_by_the_time_they_take() {
        let mut time = ServiceTime::default();
        time.observe(&[1000, 0, 0, 0, 0, 1], upper);
        assert_eq!(time.longest(), Some(Duration::from_millis(32)), "3% of the time");
        time.observe(&[3000, 0, 0, 0, 0, 0], upper);
        assert_eq!(time.longest(), Some(Duration::from_millis(1)), "0.1%");
    }

    #[test]
    fn what_took_a_hundredth_of_the_time_and_no_more_is_beyond_the_longest() {
        let mut time = ServiceTime::default();
        time.observe(&[198, 1], upper);
        assert_eq!(time.longest(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn five_hundred_newer_requests_halve_the_weight_of_the_older_ones() {
        let median_after = |newer: u64| {
            let mut time = ServiceTime::default();
            time.observe(&[1000, 0], upper);
            time.observe(&[0, newer], upper);
            time.median()
        };
        assert_eq!(median_after(499), Some(Duration::from_micros(500)));
        assert_eq!(median_after(501), Some(Duration::from_micros(1500)));
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
