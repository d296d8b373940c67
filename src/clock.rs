//! The one place that reads the clocks; all else takes `now` as an argument.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

#[allow(clippy::disallowed_methods)]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since this process first asked; never goes back.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Duration {
    let start = *START;
    Instant::now().saturating_duration_since(start)
}

/// The wall clock, for what other machines wrote and people read.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Processor time of the calling thread so far: what work costs, however often others came between.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
