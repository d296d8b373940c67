//! How strongly outcomes speak against an endpoint: more than chance, and at any request rate.
//!
//! Two claims are held against each other: that the endpoint succeeds as often as the others, and
//! that it does a tenth as often. Each outcome adds the logarithm of how much likelier it is by the
//! second claim than by the first, and the sum is taken over the newest outcomes, as far back as
//! speaks most against the endpoint (a likelihood ratio in a CUSUM chart, Page 1954). An endpoint
//! that is as good as the others reaches a sum of `h` by chance once in `e^h` judged requests, at
//! most, however many there are in a second.
//!
//! The unit is a failure where the others do well: 2.2 in the logarithm. Five failures in a row,
//! as the policy asks for, are a sum of 11, which chance reaches once in 60,000 requests where one in ten
//! fails at every endpoint; where one in a hundred does, once in 10,000,000,000.
//!
//! A success takes as much away as a failure adds, so half of the requests may fail where the
//! others do well, and more where they don't.

use std::time::Duration;

use crate::load::{BUCKETS, Counts, Newest, Ring};

/// What a bad endpoint's success rate is, as a part of the others'.
const BAD: f64 = 0.1;
/// The others are taken to succeed no more often than this: a service that has not failed so far
/// may do so tomorrow, and one failure must not be infinitely unlikely.
const WELL: f64 = 0.9;
/// Fewest failures that speak against an endpoint: two can be bad luck.
const FAILURES: u32 = 3;
/// A moment's failures have to be as many as this part of what ended in ten seconds, or a pause of
/// the endpoint that is over when it is noticed would put it aside...
const MOMENT: u32 = 4;
/// ...but not more than this: of twenty all fail by chance once in a million times where half do.
const MOMENT_MOST: u32 = 20;
/// Outcomes of an endpoint that tell how well the others do, where ten seconds have fewer.
pub const OTHERS: u32 = 10;

/// What speaks against an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// As far back as it takes.
    pub newest: Newest,
    /// The mean time that a failure took, where that made it weigh more.
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

/// Whether the outcomes since a time speak against an endpoint, as strongly as `requests` failures
/// in a row where the others do well. `others`: their success rate; `usual`: what a request takes.
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
        // All that there is, or ten seconds of it, is more than a moment.
        let is_whole = newest.seconds >= BUCKETS as u64 || spans.peek().is_none();
        let needed = f64::from(if is_whole { requests } else { moment });
        let (weight, each_took) = weight(&newest, needed, usual);
        let sum = weight * scale.failure - f64::from(newest.counts.succeeded()) * scale.success;
        // What is equal but for the last digit is equal.
        if newest.counts.failed >= FAILURES && sum >= needed * (1.0 - 1e-9) {
            return Some(Evidence { newest, each_took });
        }
    }
    None
}

/// How many failures they are worth. One that takes long is worth the requests that would have
/// been served meanwhile: an endpoint that holds each for a second shows a hundredth of the
/// failures of one that fails at once. Three of them speak for themselves, but only about a time
/// that is longer than they took: what succeeded while they waited must be seen.
fn weight(newest: &Newest, needed: f64, usual: Option<Duration>) -> (f64, Option<Duration>) {
    let failed = f64::from(newest.counts.failed);
    let Some(usual) = usual.filter(|usual| !usual.is_zero()) else { return (failed, None) };
    let lost = Duration::from_millis(newest.counts.lost_ms.into());
    let each = lost.checked_div(newest.counts.failed).unwrap_or_default();
    // In the middle, the current second is half over.
    if each > Duration::from_secs(newest.seconds) - Duration::from_millis(500) {
        return (failed, None);
    }
    let most = (needed / f64::from(FAILURES)).max(1.0);
    let worth = (each.as_secs_f64() / usual.as_secs_f64()).clamp(1.0, most);
    (failed * worth, (worth > 1.0).then_some(each))
}

/// What an endpoint is compared by with the others: ten seconds, or more where requests are rare.
pub fn recent(ring: &Ring, now: Duration, since: Duration) -> Counts {
    ring.recent(now, since, OTHERS)
}
