//! Decides how often a table's load is published, and how much its counts weigh.
//!
//! Counts that are older than the requests they count send all callers to the same endpoint. So the
//! period follows the service time, and published counts are multiplied by `s / (s + T)` (s: the
//! median service time, T: the period). At 1 ms service and T = 20 ms that took the p99 from 13.6
//! to 8.3 ms with 50 processes.

use std::time::Duration;

/// The shortest period between two publications.
pub const SHORTEST: Duration = Duration::from_millis(1);
/// The longest period, unless the limit on processor time asks for a longer one.
pub const LONGEST: Duration = Duration::from_millis(5);
/// The period is this part of the median service time.
const PART_OF_SERVICE_TIME: u32 = 10;
/// The part of a core that the publishing thread may take. Periods grow as far as that needs.
pub const MOST_OF_A_CORE: f64 = 0.03;
/// The part of a core that the publications of all tables may take.
pub const MOST_FOR_PASSES: f64 = 0.02;
/// The part of a core that waking up may take: 1,000 wake-ups a second alone take 3.6% on a virtual
/// machine.
pub const MOST_FOR_WAKING: f64 = 0.015;
/// A period that has to grow becomes this many times longer than needed. It then stays until it is
/// [`TOO_MUCH_TO_SPARE`] times longer than needed. Each change of the period changes every score,
/// and writing the scores costs as much as a pass, which would cause the next change.
const SPARE: f64 = 1.25;
const TOO_MUCH_TO_SPARE: f64 = 1.6;
/// At longer periods, counts say nothing about the requests that are still in flight, so they weigh
/// nothing.
const TOO_OLD: Duration = Duration::from_secs(2);
/// The shrink factor changes by at least one step, so that noise makes no new generation.
const SHRINK_STEPS: f64 = 64.0;

/// The period for a service with this median service time; the shortest one before the median is
/// known.
pub fn wanted(median: Option<Duration>) -> Duration {
    median.map_or(SHORTEST, |s| s / PART_OF_SERVICE_TIME).clamp(SHORTEST, LONGEST)
}

/// The period for a table that wants `wanted` and can afford no shorter one than `needed`. `steady`
/// is the period in force.
pub fn affordable(wanted: Duration, needed: Duration, steady: Duration) -> Duration {
    let least = wanted.max(needed);
    if steady >= least && steady <= least.mul_f64(TOO_MUCH_TO_SPARE) {
        steady
    } else {
        wanted.max(needed.mul_f64(SPARE))
    }
}

/// The factor for in-flight terms, 0 to 1. `steady` is the factor in force: it stays while the
/// right one is within a step of it.
pub fn shrink(median: Option<Duration>, period: Duration, steady: f64) -> f64 {
    if period > TOO_OLD {
        return 0.0;
    }
    let s = median.unwrap_or(period * PART_OF_SERVICE_TIME).as_secs_f64();
    let factor = s / (s + period.as_secs_f64());
    if (factor - steady).abs() < 1.0 / SHRINK_STEPS { steady } else { factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_period_is_a_tenth_of_the_service_time_within_its_bounds() {
        assert_eq!(wanted(None), ms(1));
        assert_eq!(wanted(Some(ms(1))), ms(1));
        assert_eq!(wanted(Some(ms(30))), ms(3));
        assert_eq!(wanted(Some(ms(500))), ms(5));
    }

    #[test]
    fn a_period_that_can_not_be_had_is_stretched_to_what_can_and_some() {
        assert_eq!(affordable(ms(1), Duration::from_micros(500), ms(1)), ms(1));
        assert_eq!(affordable(ms(1), ms(50), ms(1)), Duration::from_micros(62_500));
    }

    #[test]
    fn a_period_that_fits_is_left_alone() {
        let affordable = |needed, steady| affordable(ms(2), ms(needed), steady);
        assert_eq!(affordable(10, ms(12)), ms(12), "it need be 10");
        assert_eq!(affordable(10, ms(9)), Duration::from_micros(12_500));
        assert_eq!(affordable(10, ms(17)), Duration::from_micros(12_500));
        assert_eq!(affordable(0, ms(3)), ms(3), "near enough to what is wanted");
        assert_eq!(affordable(0, ms(4)), ms(2));
    }

    #[test]
    fn old_counts_are_believed_less_and_very_old_ones_not_at_all() {
        assert_eq!(shrink(Some(ms(10)), ms(10), 0.0), 0.5);
        assert_eq!(shrink(Some(ms(10)), ms(10), 0.51), 0.51, "within a step it rests");
        assert_eq!(shrink(Some(ms(10)), Duration::from_secs(3), 0.5), 0.0);
    }
}
