//! Reads the clocks. No other file does: all other code takes `now` as an argument, so that tests
//! decide what time it is.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

#[allow(clippy::disallowed_methods)]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since this process first asked. It never goes back.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Duration {
    let start = *START;
    Instant::now().saturating_duration_since(start)
}

/// The wall clock, for times that other machines wrote or people read.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The processor time of the calling thread so far. It measures what work costs, even if other
/// threads ran in between.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
