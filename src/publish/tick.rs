//! Decides how often the publishing thread wakes up.
//!
//! Due times lie on whole ticks, so that many tables cost one wake-up. A wake-up costs more than
//! most passes: 36 us on a virtual machine, because the host has to wake a processor. The tick
//! grows until wake-ups stay within [`MOST_FOR_WAKING`]. Passes get what wake-ups leave of the
//! thread's time.

use std::time::Duration;

use super::period::{self, MOST_FOR_PASSES, MOST_FOR_WAKING, MOST_OF_A_CORE};

/// The shortest tick, and the unit of the others.
pub(super) const TICK: Duration = period::SHORTEST;
/// One wait in this many is measured, because reading a thread's time twice costs 3 us. The number
/// does not divide the waits between two plans, because a wait at a plan comes with more work.
const MEASURED_EVERY: u32 = 7;
/// The weight of the newest measurement. A host that was busy for a moment must not change the
/// tick.
const NEWEST: f64 = 1.0 / 16.0;

/// The tick, and the measurements that set it.
#[derive(Debug)]
pub(super) struct Ticks {
    length: Duration,
    /// The processor time of a wait, smoothed.
    wait: Option<Duration>,
    until_measured: u32,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { length: TICK, wait: None, until_measured: 0 }
    }
}

impl Ticks {
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// The start of the current tick.
    pub(super) fn of(&self, now: Duration) -> Duration {
        let tick = self.length.as_nanos() as u64;
        Duration::from_nanos(now.as_nanos() as u64 / tick * tick)
    }

    /// A period in whole ticks: rounded to the nearest number, half a tick down, and at least one.
    pub(super) fn whole(&self, period: Duration) -> Duration {
        self.of(period + (self.length - Duration::from_nanos(1)) / 2).max(self.length)
    }

    /// The part of a core that passes may take, beside one wait per tick.
    pub(super) fn left_for_passes(&self) -> f64 {
        let waits = self.wait.unwrap_or_default().div_duration_f64(self.length);
        (MOST_OF_A_CORE - waits.min(MOST_FOR_WAKING)).min(MOST_FOR_PASSES)
    }

    pub(super) fn measures(&mut self) -> bool {
        let due = self.until_measured == 0;
        self.until_measured = if due { MEASURED_EVERY } else { self.until_measured } - 1;
        due
    }

    /// Takes in the processor time of a wait.
    pub(super) fn waited(&mut self, cost: Duration) {
        let before = self.wait.unwrap_or(cost);
        self.wait = Some(before.mul_f64(1.0 - NEWEST) + cost.mul_f64(NEWEST));
    }

    /// Adapts the tick to the measured cost of a wake-up.
    pub(super) fn adapt(&mut self) {
        let needed = self.wait.unwrap_or_default().div_f64(MOST_FOR_WAKING);
        let spared = period::affordable(TICK, needed, self.length);
        let ticks = spared.div_duration_f64(TICK).round().max(needed.div_duration_f64(TICK).ceil());
        self.length = TICK.mul_f64(ticks.max(1.0)).min(period::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A thread whose waits each take this much, after enough waits to measure it.
    fn run(ticks: &mut Ticks, wait_us: u64) -> Duration {
        for _ in 0..200 {
            ticks.waited(Duration::from_micros(wait_us));
            ticks.adapt();
        }
        ticks.length()
    }

    #[test]
    fn a_wakeup_that_costs_little_leaves_the_shortest_tick() {
        let mut ticks = Ticks::default();
        assert_eq!(run(&mut ticks, 10), TICK);
        assert!((ticks.left_for_passes() - MOST_FOR_PASSES).abs() < 1e-9);
    }

    #[test]
    fn a_tick_is_as_long_as_its_wakeups_are_dear_and_short_again_once_they_are_not() {
        let mut ticks = Ticks::default();
        assert_eq!(run(&mut ticks, 36), ms(3));
        assert_eq!(run(&mut ticks, 5), TICK);
        assert_eq!(run(&mut ticks, 2_000), period::LONGEST, "older counts herd callers");
    }

    #[test]
    fn a_tick_rests_while_the_machine_is_a_little_slower_or_faster() {
        let mut ticks = Ticks::default();
        for wait in [36, 29, 44, 30, 43] {
            assert_eq!(run(&mut ticks, wait), ms(3), "{wait} us");
        }
    }

    #[test]
    fn one_dear_wait_changes_nothing() {
        let mut ticks = Ticks::default();
        run(&mut ticks, 5);
        ticks.waited(Duration::from_micros(150));
        ticks.adapt();
        assert_eq!(ticks.length(), TICK);
    }

    #[test]
    fn one_wait_in_seven_is_measured() {
        let mut ticks = Ticks::default();
        let measured: Vec<_> = (0..15).filter(|_| ticks.measures()).collect();
        assert_eq!(measured, [0, 7, 14]);
    }

    #[test]
    fn periods_are_whole_ticks() {
        let in_ms = |length, period| {
            let ticks = Ticks { length: ms(length), ..Ticks::default() };
            ticks.whole(Duration::from_micros(period)).as_millis()
        };
        assert_eq!([1, 1_000, 1_500, 1_501, 62_500].map(|us| in_ms(1, us)), [1, 1, 1, 2, 62]);
        assert_eq!([1_000, 5_000, 62_500].map(|us| in_ms(2, us)), [2, 4, 62]);
        let ticks = Ticks { length: ms(3), ..Ticks::default() };
        assert_eq!(ticks.of(Duration::from_micros(7_999)), ms(6));
    }

    proptest! {
        #[test]
        fn all_stays_within_the_thread_s_part_of_a_core(wait in 0..75u64) {
            let mut ticks = Ticks::default();
            let length = run(&mut ticks, wait);
            let waits = Duration::from_micros(wait).div_duration_f64(length);
            prop_assert!(waits <= MOST_FOR_WAKING * 1.001, "{ticks:?}");
            prop_assert!(waits + ticks.left_for_passes() <= MOST_OF_A_CORE * 1.001);
        }
    }
}
