//! How strongly outcomes speak against an endpoint: more than chance, at any request rate.
//!
//! Two hypotheses are compared: the endpoint succeeds as often as the others, or a tenth as often.
//! Each outcome adds the logarithm of how much likelier it is under the second than under the
//! first. The sum runs over the newest outcomes, as far back as speaks most against the endpoint (a
//! likelihood ratio in a CUSUM chart, Page 1954). An endpoint that is as good as the others reaches
//! a sum of `h` by chance at most once in `e^h` judged requests, however many there are in a
//! second.
//!
//! The unit is a failure where the others do well: 2.2 in the logarithm. The policy asks for five
//! failures in a row, a sum of 11. Chance reaches it once in 60,000 requests where one in ten fails
//! at every endpoint, and once in 10,000,000,000 where one in a hundred does.
//!
//! A success takes away as much as a failure adds. So half of the requests may fail where the
//! others do well, and more where they don't.

use std::time::Duration;

use crate::load::{BUCKETS, Counts, Newest, Ring};

/// The success rate of a bad endpoint, as a part of the others'.
const BAD: f64 = 0.1;
/// The upper bound of the others' success rate. A service without failures so far may have some
/// tomorrow, and one failure must not be infinitely unlikely.
const WELL: f64 = 0.9;
/// Fewest failures that speak against an endpoint: two can be bad luck.
const FAILURES: u32 = 3;
/// Failures within a moment must be at least this part of the requests that ended in ten seconds.
/// Without this, a pause that is over when it is noticed would eject the endpoint.
const MOMENT: u32 = 4;
/// The upper bound of [`MOMENT`]'s number. If half of the requests fail, all of twenty fail by
/// chance once in a million times.
const MOMENT_MOST: u32 = 20;
/// How many outcomes of an endpoint to compare, if ten seconds have fewer.
pub const OTHERS: u32 = 10;

/// The evidence against an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The newest outcomes, as far back as needed.
    pub newest: Newest,
    /// The mean time of a failure, if that made it weigh more.
    pub each_took: Option<Duration>,
}

/// What each outcome adds, in failures where the others do well.
struct Scale {
    failure: f64,
    success: f64,
}

fn log_of_failure(others: f64) -> f64 {
    ((1.0 - BAD * others) / (1.0 - others)).ln()
}

impl Scale {
    /// `others`: their success rate.
    fn new(others: f64) -> Self {
        let unit = log_of_failure(WELL);
        Self { failure: log_of_failure(others.min(WELL)) / unit, success: -BAD.ln() / unit }
    }
}

/// Evidence from the outcomes since a time, if it is as strong as `requests` failures in a row
/// where the others do well. `others`: their success rate; `usual`: the usual time of a request.
pub fn against(
    ring: &Ring,
    now: Duration,
    since: Duration,
    requests: u32,
    others: f64,
    usual: Option<Duration>,
) -> Option<Evidence> {
    let scale = Scale::new(others);
    let judged = ring.sum(now, since).judged();
    let moment = requests.max((judged / MOMENT).min(MOMENT_MOST));
    let mut spans = ring.back(now, since).peekable();
    while let Some(newest) = spans.next() {
        // All outcomes, or ten seconds of them, are more than a moment.
        let is_whole = newest.seconds >= BUCKETS as u64 || spans.peek().is_none();
        let needed = f64::from(if is_whole { requests } else { moment });
        let (weight, each_took) = weight(&newest, needed, usual);
        let sum = weight * scale.failure - f64::from(newest.counts.succeeded()) * scale.success;
        // Tolerates rounding.
        if newest.counts.failed >= FAILURES && sum >= needed * (1.0 - 1e-9) {
            return Some(Evidence { newest, each_took });
        }
    }
    None
}

/// How many failures these count as. A slow failure counts as the requests that would have been
/// served meanwhile: an endpoint that holds each for a second shows a hundredth of the failures of
/// one that fails at once. Three slow failures suffice, but only within a span that is longer than
/// they took, so that successes in the meantime are seen.
fn weight(newest: &Newest, needed: f64, usual: Option<Duration>) -> (f64, Option<Duration>) {
    let failed = f64::from(newest.counts.failed);
    let Some(usual) = usual.filter(|usual| !usual.is_zero()) else { return (failed, None) };
    let lost = Duration::from_millis(newest.counts.lost_ms.into());
    let each = lost.checked_div(newest.counts.failed).unwrap_or_default();
    // On average, the current second is half over.
    if each > Duration::from_secs(newest.seconds) - Duration::from_millis(500) {
        return (failed, None);
    }
    let most = (needed / f64::from(FAILURES)).max(1.0);
    let worth = (each.as_secs_f64() / usual.as_secs_f64()).clamp(1.0, most);
    (failed * worth, (worth > 1.0).then_some(each))
}

/// The counts by which endpoints are compared: ten seconds, or more if requests are rare.
pub fn recent(ring: &Ring, now: Duration, since: Duration) -> Counts {
    ring.recent(now, since, OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn counts(succeeded: u32, failed: u32) -> Counts {
        Counts { ended: succeeded + failed, failed, ..Counts::default() }
    }

    /// Whether these outcomes, one per second, are evidence in the same way as five failures in a row.
    fn speaks(outcomes: &[(u64, Counts)], others: f64) -> bool {
        let mut ring = Ring::default();
        outcomes.iter().for_each(|(second, counts)| ring.add(seconds(*second), counts));
        against(&ring, seconds(9), seconds(0), 5, others, None).is_some()
    }

    #[test]
    fn an_outcome_weighs_by_how_much_likelier_it_is_at_a_bad_endpoint() {
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-3, "{value}");
        let well = Scale::new(1.0);
        near(well.failure, 1.0);
        near(well.success, 1.0427);
        let half = Scale::new(0.5);
        near(half.failure, 0.2907);
        near(half.success, 1.0427);
    }

    #[test]
    fn a_success_takes_away_a_little_more_than_a_failure_adds() {
        assert!(!speaks(&[(9, counts(10, 15))], 1.0));
        assert!(speaks(&[(9, counts(10, 16))], 1.0));
    }

    #[test]
    fn failures_of_a_moment_are_enough_if_they_are_a_quarter_of_all_requests() {
        assert!(!speaks(&[(1, counts(30, 0)), (9, counts(0, 8))], 1.0));
        assert!(speaks(&[(1, counts(30, 0)), (9, counts(0, 9))], 1.0));
    }

    #[test]
    fn a_slow_failure_weighs_as_the_requests_of_its_time_once_the_span_is_longer() {
        let usual = Some(Duration::from_millis(500));
        let weight = |lost_ms, seconds, needed| {
            let counts = Counts { lost_ms, ..counts(0, 3) };
            weight(&Newest { counts, seconds }, needed, usual)
        };
        let each = Some(Duration::from_millis(1500));
        assert_eq!(weight(4500, 2, 12.0), (9.0, each), "three requests each");
        assert_eq!(weight(4503, 2, 12.0), (3.0, None), "longer than the span");
        assert_eq!(weight(4500, 2, 6.0), (6.0, each), "three are as many as are needed");
        assert_eq!(weight(4500, 2, 2.0), (3.0, None), "and never less than they are");
        assert_eq!(weight(1500, 2, 12.0), (3.0, None), "as long as usual");
    }
}
