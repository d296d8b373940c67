//! The usual time of a service's requests, for callers that do not report their end.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The assumed service time before any request was timed. Most calls within a cluster take between
/// 1 ms and 1 s: a guess in the middle is wrong by a factor of ten at most.
const UNTIMED: Duration = Duration::from_millis(100);
/// The bounds of the assumed service time, for callers that do not report the end of a request.
/// Less than a publishing period would be over before other callers see it. More is a stream rather
/// than a request.
const ASSUMED: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

/// The publisher writes it, and callers read it.
#[derive(Clone, Debug, Default)]
pub struct UsualTime {
    /// Microseconds; 0 before any request was timed.
    us: Arc<AtomicU64>,
}

impl UsualTime {
    pub(super) fn set(&self, median: Duration) {
        self.us.store(median.as_micros() as u64, Relaxed);
    }

    /// The median of recent requests, or a guess before any was timed.
    pub fn get(&self) -> Duration {
        match self.us.load(Relaxed) {
            0 => UNTIMED,
            us => Duration::from_micros(us).clamp(*ASSUMED.start(), *ASSUMED.end()),
        }
    }
}
