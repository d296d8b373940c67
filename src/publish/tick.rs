//! How often the publishing thread wakes up.
//!
//! Due times lie on whole ticks, so that many tables cost one wake-up. Waking up is dearer than most
//! passes: 36 us on a virtual machine, where it is the host that wakes a processor. So a tick is as
//! long as it has to be for that to stay within [`MOST_FOR_WAKING`], and what it takes is not there
//! for passes.

use std::time::Duration;

use super::period::{self, MOST_FOR_PASSES, MOST_FOR_WAKING, MOST_OF_A_CORE};

/// The shortest tick, and the unit of the others.
pub(super) const TICK: Duration = period::SHORTEST;
/// Fewer wake-ups say too little of what one costs.
const ENOUGH: u32 = 32;
/// Weight of what was measured last: a host that was busy for a moment should not change the tick.
const NEWEST: f64 = 0.25;

/// The tick, and what it was chosen by.
#[derive(Debug)]
pub(super) struct Ticks {
    length: Duration,
    /// What a wake-up takes of a processor, and what all of them take of a core; smoothed.
    wakeup: Option<Duration>,
    share: f64,
    /// Since this time, and this much of a processor ago: the wake-ups, and what passes took.
    since: Duration,
    spent: Duration,
    wakeups: u32,
    passes: Duration,
}

impl Ticks {
    /// `spent` is what the thread has had of a processor.
    pub(super) fn new(now: Duration, spent: Duration) -> Self {
        Self {
            length: TICK,
            wakeup: None,
            share: 0.0,
            since: now,
            spent,
            wakeups: 0,
            passes: Duration::ZERO,
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// The tick that has begun last.
    pub(super) fn of(&self, now: Duration) -> Duration {
        let tick = self.length.as_nanos() as u64;
        Duration::from_nanos(now.as_nanos() as u64 / tick * tick)
    }

    /// A period in whole ticks: the nearest number, the smaller of two, and at least one.
    pub(super) fn whole(&self, period: Duration) -> Duration {
        self.of(period + (self.length - Duration::from_nanos(1)) / 2).max(self.length)
    }

    pub(super) fn count_wakeup(&mut self) {
        self.wakeups += 1;
    }

    pub(super) fn count_pass(&mut self, cost: Duration) {
        self.passes += cost;
    }

    /// What part of a core passes may take.
    pub(super) fn left_for_passes(&self) -> f64 {
        (MOST_OF_A_CORE - self.share.min(MOST_FOR_WAKING)).min(MOST_FOR_PASSES)
    }

    /// Makes the tick as long as waking up asks for by now.
    pub(super) fn adapt(&mut self, now: Duration, spent: Duration) {
        if self.wakeups < ENOUGH || now <= self.since {
            return;
        }
        let waking = spent.saturating_sub(self.spent).saturating_sub(self.passes);
        let wakeup = waking / self.wakeups;
        let smoothed = self
            .wakeup
            .map_or(wakeup, |before| before.mul_f64(1.0 - NEWEST) + wakeup.mul_f64(NEWEST));
        let share = waking.as_secs_f64() / (now - self.since).as_secs_f64();
        let share = self.share * (1.0 - NEWEST) + share * NEWEST;
        let needed = smoothed.div_f64(MOST_FOR_WAKING);
        let spared = period::affordable(TICK, needed, self.length);
        let ticks =
            (spared.div_duration_f64(TICK).round()).max(needed.div_duration_f64(TICK).ceil());
        *self = Self { wakeup: Some(smoothed), share, ..Self::new(now, spent) };
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

    /// A thread that publishes every tick for so long, each wake-up and its passes taking so much.
    fn run(ticks: &mut Ticks, how_long: Duration, wakeup: Duration, passes: Duration) -> f64 {
        let (from, mut spent) = (ticks.since, ticks.spent);
        let before = spent;
        let mut now = from;
        while now < from + how_long {
            now += ticks.length();
            spent += wakeup + passes;
            ticks.count_wakeup();
            ticks.count_pass(passes);
            if now >= ticks.since + ms(100) {
                ticks.adapt(now, spent);
            }
        }
        (spent - before).as_secs_f64() / how_long.as_secs_f64()
    }

    fn new() -> Ticks {
        Ticks::new(ms(5_000), ms(70))
    }

    #[test]
    fn a_wakeup_that_costs_little_leaves_the_shortest_tick() {
        let mut ticks = new();
        run(&mut ticks, ms(3_000), Duration::from_micros(10), Duration::from_micros(9));
        assert_eq!(ticks.length(), TICK);
        assert!((ticks.left_for_passes() - MOST_FOR_PASSES).abs() < 1e-9);
    }

    #[test]
    fn a_tick_is_as_long_as_its_wakeups_are_dear_and_short_again_once_they_are_not() {
        let mut ticks = new();
        run(&mut ticks, ms(3_000), Duration::from_micros(36), ms(0));
        let part = run(&mut ticks, ms(3_000), Duration::from_micros(36), ms(0));
        assert_eq!((ticks.length(), part < MOST_FOR_WAKING), (ms(3), true));
        run(&mut ticks, ms(5_000), Duration::from_micros(5), ms(0));
        assert_eq!(ticks.length(), TICK);
        run(&mut ticks, ms(5_000), ms(2), ms(0));
        assert_eq!(
            ticks.length(),
            period::LONGEST,
            "and no longer, since older counts herd callers"
        );
    }

    #[test]
    fn a_tick_rests_while_the_machine_is_a_little_slower_or_faster() {
        let mut ticks = new();
        run(&mut ticks, ms(3_000), Duration::from_micros(36), ms(0));
        for wakeup in [29, 44, 30, 43] {
            run(&mut ticks, ms(3_000), Duration::from_micros(wakeup), ms(0));
            assert_eq!(ticks.length(), ms(3), "{wakeup} us");
        }
    }

    #[test]
    fn a_few_wakeups_say_nothing() {
        let mut ticks = new();
        (1..ENOUGH).for_each(|_| ticks.count_wakeup());
        ticks.adapt(ms(6_000), ms(900));
        assert_eq!(ticks.length(), TICK);
    }

    #[test]
    fn periods_are_whole_ticks() {
        let in_ms = |length, period| {
            let ticks = Ticks { length: ms(length), ..new() };
            ticks.whole(Duration::from_micros(period)).as_millis()
        };
        assert_eq!([1, 1_000, 1_500, 1_501, 62_500].map(|us| in_ms(1, us)), [1, 1, 1, 2, 62]);
        assert_eq!([1_000, 5_000, 62_500].map(|us| in_ms(2, us)), [2, 4, 62]);
        let ticks = Ticks { length: ms(3), ..new() };
        assert_eq!(ticks.of(Duration::from_micros(7_999)), ms(6));
    }

    proptest! {
        #[test]
        fn all_stays_within_the_thread_s_part_of_a_core(
            wakeup in 0..75u64, passes in 0..100u64,
        ) {
            let mut ticks = new();
            let wakeup = Duration::from_micros(wakeup);
            run(&mut ticks, ms(3_000), wakeup, Duration::from_micros(passes));
            let waking = wakeup.as_secs_f64() / ticks.length().as_secs_f64();
            prop_assert!(waking <= MOST_FOR_WAKING * 1.001, "{ticks:?}");
            prop_assert!(waking.min(ticks.share) + ticks.left_for_passes() <= MOST_OF_A_CORE);
        }
    }
}
