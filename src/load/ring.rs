//! Outcomes of the last ten seconds in buckets of one second.
//!
//! A ring and not an exponential average: what an average says depends on the request rate, and
//! after a burst of failures it stays low for as long as few requests come.

use std::time::Duration;

/// Buckets of a ring.
pub const BUCKETS: usize = 10;
/// Length of a bucket.
pub const BUCKET: Duration = Duration::from_secs(1);

/// What ended in some stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All ends, cancelled ones too.
    pub ended: u32,
    /// Ends that were judged a failure: failed, expired, unreachable.
    pub failed: u32,
    /// Part of `failed`: no connection.
    pub unreachable: u32,
    /// Alive but full; neither success nor failure.
    pub rejected: u32,
    /// How many were timed.
    pub timed: u32,
    /// Sum of the timed ones' latency, in microseconds.
    pub latency_us: u32,
}

impl Counts {
    /// Ends that were no failure (cancelled ones count here: the agent can't tell them from
    /// successes by the counters, and the caller gave no judgement against the endpoint).
    pub fn succeeded(&self) -> u32 {
        self.ended.saturating_sub(self.failed).saturating_sub(self.rejected)
    }

    /// Ends that say something about the endpoint.
    pub fn judged(&self) -> u32 {
        self.succeeded() + self.failed
    }

    /// 0 to 1; None without a judged end.
    pub fn success_rate(&self) -> Option<f64> {
        let judged = self.judged();
        (judged > 0).then(|| f64::from(self.succeeded()) / f64::from(judged))
    }

    /// Sum of the two.
    pub fn plus(mut self, other: &Self) -> Self {
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed);
        self.unreachable = self.unreachable.saturating_add(other.unreachable);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.timed = self.timed.saturating_add(other.timed);
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
        self
    }

    /// Mean latency of the timed ones.
    pub fn mean_latency(&self) -> Option<Duration> {
        (self.timed > 0)
            .then(|| Duration::from_micros(u64::from(self.latency_us) / u64::from(self.timed)))
    }
}

/// What ended of late, as far back as it takes for enough requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The sum.
    pub counts: Counts,
    /// How many seconds, the current one included, it goes back.
    pub seconds: u64,
}

/// The last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Empty until the first addition: most endpoints of most services see no request.
    buckets: Vec<Counts>,
    /// Number of the newest bucket, counted from the start of time.
    newest: u64,
}

fn number(now: Duration) -> u64 {
    now.as_secs() / BUCKET.as_secs()
}

impl Ring {
    /// Adds to the bucket of `now`; an older `now` counts in the newest bucket.
    pub fn add(&mut self, now: Duration, new: &Counts) {
        if *new == Counts::default() {
            return;
        }
        self.buckets.resize(BUCKETS, Counts::default());
        let number = number(now).max(self.newest);
        for passed in (self.newest + 1..=number).take(BUCKETS) {
            self.buckets[(passed % BUCKETS as u64) as usize] = Counts::default();
        }
        self.newest = number;
        let bucket = &mut self.buckets[(number % BUCKETS as u64) as usize];
        *bucket = bucket.plus(new);
    }

    /// The sum of the last ten seconds, less what lies before `since` (to a bucket).
    pub fn sum(&self, now: Duration, since: Duration) -> Counts {
        if self.buckets.is_empty() {
            return Counts::default();
        }
        self.span(now, since).fold(Counts::default(), Counts::plus)
    }

    /// The sum of the newest buckets that together judge `requests`, and from when on they are;
    /// None where all of [`sum`](Self::sum) judges fewer.
    pub fn newest(&self, now: Duration, since: Duration, requests: u32) -> Option<Newest> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut counts = Counts::default();
        let behind = u64::max(number(now), self.newest) - self.newest;
        for (bucket, seconds) in self.span(now, since).rev().zip(behind + 1..) {
            counts = counts.plus(bucket);
            if counts.judged() >= requests {
                return Some(Newest { counts, seconds });
            }
        }
        None
    }

    /// The buckets of the last ten seconds but those before `since`, the oldest first.
    fn span(&self, now: Duration, since: Duration) -> impl DoubleEndedIterator<Item = &Counts> {
        let first = (number(now) + 1).saturating_sub(BUCKETS as u64).max(number(since));
        let oldest = (self.newest + 1).saturating_sub(BUCKETS as u64);
        let bucket = |number| &self.buckets[(number % BUCKETS as u64) as usize];
        (first.max(oldest)..self.newest + 1).map(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn ended(n: u32) -> Counts {
        Counts { ended: n, ..Counts::default() }
    }

    #[test]
    fn the_newest_buckets_are_as_many_as_it_takes() {
        let mut ring = Ring::default();
        ring.add(seconds(3), &ended(100));
        ring.add(seconds(8), &ended(15));
        ring.add(seconds(9), &ended(5));
        let newest = |now, since, requests| {
            let newest = ring.newest(seconds(now), seconds(since), requests)?;
            Some((newest.counts.ended, newest.seconds))
        };
        assert_eq!(newest(9, 0, 5), Some((5, 1)));
        assert_eq!(newest(9, 0, 20), Some((20, 2)));
        assert_eq!(newest(9, 0, 21), Some((120, 7)));
        assert_eq!(newest(11, 0, 20), Some((20, 4)), "nothing came since");
        assert_eq!(newest(9, 9, 20), None, "less than that since then");
        assert_eq!(newest(13, 0, 21), None, "the hundred are ten seconds old");
        assert_eq!(Ring::default().newest(seconds(1), seconds(0), 0), None);
    }

    #[test]
    fn what_is_ten_seconds_old_no_longer_counts() {
        let mut ring = Ring::default();
        ring.add(seconds(3), &ended(1));
        ring.add(seconds(12), &ended(2));
        assert_eq!(ring.sum(seconds(12), seconds(0)).ended, 3);
        assert_eq!(ring.sum(seconds(13), seconds(0)).ended, 2);
        assert_eq!(ring.sum(seconds(22), seconds(0)).ended, 0);
    }

    #[test]
    fn a_long_silence_empties_the_ring() {
        let mut ring = Ring::default();
        for s in 0..10 {
            ring.add(seconds(s), &ended(1));
        }
        ring.add(seconds(1000), &ended(5));
        assert_eq!(ring.sum(seconds(1000), seconds(0)).ended, 5);
    }

    #[test]
    fn a_sum_since_a_time_leaves_earlier_buckets_out() {
        let mut ring = Ring::default();
        ring.add(seconds(3), &ended(1));
        ring.add(seconds(5), &ended(2));
        assert_eq!(ring.sum(seconds(6), seconds(5)).ended, 2);
        assert_eq!(ring.sum(seconds(6), seconds(6)).ended, 0);
    }
}
