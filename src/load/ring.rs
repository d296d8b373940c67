//! The recent outcomes, in buckets of one second.
//!
//! This is a ring and not an exponential average. What an average says depends on the request rate,
//! and after a burst of failures it stays low as long as few requests come.
//!
//! Only a second in which something ended has a bucket, and a new bucket replaces the oldest one.
//! So the last ten seconds are there at any rate. Where requests are rare, older outcomes are
//! there, too: an endpoint with one request a minute must be judged by something.

use std::time::Duration;

/// The number of seconds that are there at any rate.
pub const BUCKETS: usize = 10;
pub const BUCKET: Duration = Duration::from_secs(1);
/// The buckets of the last ten seconds, and one before.
const MOST: usize = BUCKETS + 1;
/// The number of buckets to allocate at a time: most endpoints need few.
const ROOM: usize = 4;

/// What ended in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All ends, cancelled ones too.
    pub ended: u32,
    /// Ends that were judged a failure: failed, expired or unreachable.
    pub failed: u32,
    /// The part of `failed` without a connection.
    pub unreachable: u32,
    /// Rejected by a server that is alive but full: neither success nor failure.
    pub rejected: u32,
    /// Given up, or never reported: neither success nor failure.
    pub cancelled: u32,
    pub timed: u32,
    /// The milliseconds that failed and expired requests took, as far as they were timed.
    pub lost_ms: u32,
    /// The sum of the timed requests' latency, in microseconds. 430 requests of 10 s are more than
    /// 32 bits hold.
    pub latency_us: u64,
}

impl Counts {
    /// Ends that were judged a success.
    pub fn succeeded(&self) -> u32 {
        let others = self.failed.saturating_add(self.rejected).saturating_add(self.cancelled);
        self.ended.saturating_sub(others)
    }

    /// Ends that say something about the endpoint.
    pub fn judged(&self) -> u32 {
        self.succeeded() + self.failed
    }

    /// The part of judged ends that were a success, 0 to 1; None without a judged end.
    pub fn success_rate(&self) -> Option<f64> {
        let judged = self.judged();
        (judged > 0).then(|| f64::from(self.succeeded()) / f64::from(judged))
    }

    pub fn plus(mut self, other: &Self) -> Self {
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed);
        self.unreachable = self.unreachable.saturating_add(other.unreachable);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.cancelled = self.cancelled.saturating_add(other.cancelled);
        self.timed = self.timed.saturating_add(other.timed);
        self.lost_ms = self.lost_ms.saturating_add(other.lost_ms);
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
        self
    }

    /// The mean latency of the timed requests.
    pub fn mean_latency(&self) -> Option<Duration> {
        (self.timed > 0).then(|| Duration::from_micros(self.latency_us / u64::from(self.timed)))
    }
}

/// What ended since the second of some bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    pub counts: Counts,
    /// How many seconds back it goes, with the current one.
    pub seconds: u64,
}

/// The outcomes of the last ten seconds and, where requests are rare, of the time before.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// The oldest first. Empty until the first addition: most endpoints of most services get no
    /// request.
    buckets: Vec<Bucket>,
}

/// A second in which something ended.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// The second on the clock that `now` is from.
    second: u32,
    counts: Counts,
}

fn second(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

impl Ring {
    /// Adds to the bucket of `now`. An older `now` counts in the newest bucket.
    pub fn add(&mut self, now: Duration, new: &Counts) {
        if *new == Counts::default() {
            return;
        }
        let second = second(now);
        if let Some(newest) = self.buckets.last_mut()
            && second <= newest.second
        {
            newest.counts = newest.counts.plus(new);
            return;
        }
        if self.buckets.len() == MOST {
            self.forget_oldest();
        } else if self.buckets.len() == self.buckets.capacity() {
            self.buckets.reserve_exact(ROOM.min(MOST - self.buckets.len()));
        }
        self.buckets.push(Bucket { second, counts: *new });
    }

    /// Removes the oldest bucket. If neither it nor the next one has a success, its counts go into
    /// the next one, which is older than ten seconds by now: failures without a success since must
    /// not be forgotten.
    fn forget_oldest(&mut self) {
        let oldest = self.buckets.remove(0);
        if let Some(next) = self.buckets.first_mut()
            && oldest.counts.succeeded() == 0
            && next.counts.succeeded() == 0
        {
            *next = Bucket { second: oldest.second, counts: next.counts.plus(&oldest.counts) };
        }
    }

    /// The sum of the last ten seconds, without the buckets before `since`.
    pub fn sum(&self, now: Duration, since: Duration) -> Counts {
        self.back(now, since)
            .take_while(|newest| newest.seconds <= BUCKETS as u64)
            .last()
            .map_or_else(Counts::default, |newest| newest.counts)
    }

    /// The sum of the last ten seconds. It goes further back if those have fewer judged ends than
    /// `requests`.
    pub fn recent(&self, now: Duration, since: Duration, requests: u32) -> Counts {
        let mut recent = Counts::default();
        for newest in self.back(now, since) {
            if newest.seconds > BUCKETS as u64 && recent.judged() >= requests {
                break;
            }
            recent = newest.counts;
        }
        recent
    }

    /// The sums of the newest bucket, of the newest two, and so on, without the buckets before
    /// `since`.
    pub fn back(&self, now: Duration, since: Duration) -> impl Iterator<Item = Newest> {
        let since = second(since);
        let now = self.buckets.last().map_or(0, |newest| newest.second).max(second(now));
        let mut counts = Counts::default();
        let buckets = self.buckets.iter().rev().take_while(move |bucket| bucket.second >= since);
        buckets.map(move |bucket| {
            counts = counts.plus(&bucket.counts);
            Newest { counts, seconds: u64::from(now - bucket.second) + 1 }
        })
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

    fn failed(n: u32) -> Counts {
        Counts { ended: n, failed: n, ..Counts::default() }
    }

    #[test]
    fn what_nobody_judged_is_no_success() {
        let counts =
            Counts { ended: 10, failed: 2, rejected: 1, cancelled: 6, ..Counts::default() };
        assert_eq!((counts.succeeded(), counts.judged()), (1, 3));
        let unjudged = Counts { ended: 6, cancelled: 6, ..Counts::default() };
        assert_eq!(unjudged.success_rate(), None);
    }

    #[test]
    fn rates_and_means_are_of_what_was_judged_and_timed() {
        let counts = Counts {
            ended: 9,
            failed: 3,
            cancelled: 1,
            timed: 4,
            latency_us: 4_400,
            ..Counts::default()
        };
        assert_eq!(counts.success_rate(), Some(0.625));
        assert_eq!(counts.mean_latency(), Some(Duration::from_micros(1_100)));
        assert_eq!(ended(3).mean_latency(), None);
    }

    #[test]
    fn a_thousand_requests_of_ten_seconds_have_a_mean_of_ten_seconds() {
        let one = Counts { ended: 1, timed: 1, latency_us: 10_000_000, ..Counts::default() };
        let mut ring = Ring::default();
        (0..1_000).for_each(|_| ring.add(seconds(3), &one));
        let mean = ring.sum(seconds(3), seconds(0)).mean_latency();
        assert_eq!(mean, Some(Duration::from_secs(10)));
    }

    #[test]
    fn it_goes_back_a_bucket_at_a_time() {
        let mut ring = Ring::default();
        ring.add(seconds(3), &ended(100));
        ring.add(seconds(8), &ended(15));
        ring.add(seconds(9), &ended(5));
        let back = |now, since| -> Vec<(u32, u64)> {
            let back = ring.back(seconds(now), seconds(since));
            back.map(|newest| (newest.counts.ended, newest.seconds)).collect()
        };
        assert_eq!(back(9, 0), [(5, 1), (20, 2), (120, 7)]);
        assert_eq!(back(11, 0), [(5, 3), (20, 4), (120, 9)], "nothing came since");
        assert_eq!(back(9, 9), [(5, 1)], "less than that since then");
        assert!(Ring::default().back(seconds(1), seconds(0)).next().is_none());
    }

    #[test]
    fn where_requests_are_rare_older_ones_are_still_known() {
        let mut ring = Ring::default();
        (0..30).for_each(|minute| ring.add(seconds(60 * minute), &ended(1)));
        let now = seconds(60 * 29);
        assert_eq!(ring.sum(now, seconds(0)).ended, 1);
        assert_eq!(ring.recent(now, seconds(0), 5).ended, 5);
        assert_eq!(ring.recent(now, seconds(0), 50).ended, MOST as u32);
        assert_eq!(ring.recent(now, seconds(60 * 28), 5).ended, 2);
    }

    #[test]
    fn failures_in_a_row_are_all_remembered_until_a_success() {
        let mut ring = Ring::default();
        ring.add(seconds(0), &ended(7));
        (1..=100).for_each(|minute| ring.add(seconds(60 * minute), &failed(1)));
        let all = |ring: &Ring| ring.recent(seconds(7_000), seconds(0), u32::MAX).failed;
        assert_eq!(all(&ring), 100);
        assert_eq!(ring.buckets.len(), MOST);
        ring.add(seconds(6_060), &ended(1));
        (102..=120).for_each(|minute| ring.add(seconds(60 * minute), &failed(1)));
        assert_eq!(all(&ring), 19);
    }

    #[test]
    fn the_last_ten_seconds_are_whole_while_something_fails_in_each() {
        let mut ring = Ring::default();
        for second in 0..40 {
            ring.add(seconds(second), &failed(1));
            let of_ten = ring.sum(seconds(second), seconds(0)).failed;
            assert_eq!(u64::from(of_ten), (second + 1).min(10), "in second {second}");
        }
    }

    #[test]
    fn a_success_that_is_too_old_is_forgotten() {
        let mut ring = Ring::default();
        ring.add(seconds(0), &ended(7));
        (1..=MOST as u64).for_each(|minute| ring.add(seconds(60 * minute), &failed(1)));
        let all = ring.recent(seconds(700), seconds(0), u32::MAX);
        assert_eq!((all.succeeded(), all.failed), (0, MOST as u32));
    }

    #[test]
    fn the_recent_ones_are_those_of_ten_seconds_if_they_are_enough() {
        let mut ring = Ring::default();
        [3, 4, 13].into_iter().for_each(|second| ring.add(seconds(second), &ended(5)));
        assert_eq!(ring.recent(seconds(13), seconds(0), 5).ended, 10);
    }

    #[test]
    fn a_ring_takes_memory_in_steps_and_no_more_than_it_needs() {
        let mut ring = Ring::default();
        let mut room = |second| {
            ring.add(seconds(second), &ended(1));
            ring.buckets.capacity()
        };
        let rooms: Vec<usize> = (0..13).map(&mut room).collect();
        assert_eq!(rooms, [4, 4, 4, 4, 8, 8, 8, 8, 11, 11, 11, 11, 11]);
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
