//! How evenly requests in flight are spread, by an exact integral over time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts the requests in flight of the back-ends of one arm. The back-ends themselves call it.
pub(crate) struct InFlightRecorder {
    back_ends: Vec<BackEndCounter>,
    /// When the integrals were last updated.
    at: Duration,
    /// The seconds with a request in flight, and the integral of the members' max/mean over them.
    busy_seconds: f64,
    max_over_mean_seconds: f64,
    elapsed_seconds: f64,
}

#[derive(Clone, Default)]
struct BackEndCounter {
    member: bool,
    in_flight: u32,
    requests: u64,
    /// The integral of `in_flight` over time.
    in_flight_seconds: f64,
}

/// What an [`InFlightRecorder`] measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct InFlightStats {
    pub(crate) back_ends: Vec<BackEndStats>,
    /// The largest over the mean of the members' requests in flight, averaged over the time with a request
    /// in flight. 1 is perfectly even.
    pub(crate) max_over_mean: f64,
}

/// What was measured of one back-end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BackEndStats {
    pub(crate) requests: u64,
    pub(crate) in_flight: u32,
    pub(crate) mean_in_flight: f64,
}

impl InFlightRecorder {
    pub(crate) fn new(back_ends: usize) -> Self {
        let back_ends = vec![BackEndCounter::default(); back_ends];
        Self {
            back_ends,
            at: Duration::ZERO,
            busy_seconds: 0.0,
            max_over_mean_seconds: 0.0,
            elapsed_seconds: 0.0,
        }
    }

    /// Sets the members. Only they count in max and mean: a removed back-end may still be draining.
    pub(crate) fn set_members(&mut self, members: &[usize], now: Duration) {
        self.advance(now);
        for (number, back_end) in self.back_ends.iter_mut().enumerate() {
            back_end.member = members.contains(&number);
        }
    }

    pub(crate) fn start(&mut self, back_end: usize, now: Duration) {
        self.advance(now);
        self.back_ends[back_end].in_flight += 1;
        self.back_ends[back_end].requests += 1;
    }

    pub(crate) fn end(&mut self, back_end: usize, now: Duration) {
        self.advance(now);
        self.back_ends[back_end].in_flight -= 1;
    }

    /// Resets the measurements. Requests in flight stay counted.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.at = now;
        (self.busy_seconds, self.max_over_mean_seconds, self.elapsed_seconds) = (0.0, 0.0, 0.0);
        for back_end in &mut self.back_ends {
            (back_end.requests, back_end.in_flight_seconds) = (0, 0.0);
        }
    }

    pub(crate) fn stats(&mut self, now: Duration) -> InFlightStats {
        self.advance(now);
        let ratio = |in_flight_seconds: f64, time: f64| {
            if time > 0.0 { in_flight_seconds / time } else { 0.0 }
        };
        let back_ends = self.back_ends.iter().map(|back_end| BackEndStats {
            requests: back_end.requests,
            in_flight: back_end.in_flight,
            mean_in_flight: ratio(back_end.in_flight_seconds, self.elapsed_seconds),
        });
        InFlightStats {
            back_ends: back_ends.collect(),
            max_over_mean: ratio(self.max_over_mean_seconds, self.busy_seconds),
        }
    }

    fn advance(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.elapsed_seconds += seconds;
        let (mut members, mut sum, mut max) = (0, 0, 0);
        for back_end in &mut self.back_ends {
            back_end.in_flight_seconds += f64::from(back_end.in_flight) * seconds;
            if back_end.member {
                members += 1;
                sum += back_end.in_flight;
                max = max.max(back_end.in_flight);
            }
        }
        if sum > 0 {
            self.busy_seconds += seconds;
            self.max_over_mean_seconds +=
                f64::from(max) * f64::from(members) / f64::from(sum) * seconds;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn max_over_mean_is_weighted_by_time_and_leaves_idle_time_out() {
        let mut recorder = InFlightRecorder::new(3);
        recorder.set_members(&[0, 1], at(0));
        recorder.start(0, at(10)); // 10 s with nothing, then 3 s of 1 and 0: 2
        recorder.start(1, at(13)); // 1 s of 1 and 1: 1
        recorder.end(0, at(14));
        recorder.end(1, at(14));
        let stats = recorder.stats(at(20));
        assert_eq!(stats.max_over_mean, (2.0 * 3.0 + 1.0) / 4.0);
        assert_eq!(
            stats.back_ends[0],
            BackEndStats { requests: 1, in_flight: 0, mean_in_flight: 0.2 }
        );
    }

    #[test]
    fn one_that_drains_is_no_member_but_still_has_its_requests() {
        let mut recorder = InFlightRecorder::new(3);
        recorder.set_members(&[0, 1, 2], at(0));
        for _ in 0..9 {
            recorder.start(2, at(0));
        }
        recorder.restart(at(0));
        recorder.set_members(&[0, 1], at(0));
        recorder.start(0, at(0));
        recorder.start(1, at(0));
        let stats = recorder.stats(at(4));
        assert_eq!(stats.max_over_mean, 1.0);
        assert_eq!(
            stats.back_ends[2],
            BackEndStats { requests: 0, in_flight: 9, mean_in_flight: 9.0 }
        );
    }
}
