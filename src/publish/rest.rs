//! Decides when a table may sleep: once no counter has moved for a while, even if requests are
//! open. What was published of streams and leases stays right until a counter moves.

use std::time::Duration;

/// A table may sleep after this many passes without movement.
const IDLE_PASSES: u32 = 50;
/// If its passes are rare, it may sleep after this time, and [`LEAST_IDLE_PASSES`] in it.
const IDLE_FOR: Duration = Duration::from_millis(250);
const LEAST_IDLE_PASSES: u32 = 3;

/// How long nothing has moved in a table, and whether it sleeps.
#[derive(Debug)]
pub(super) struct Rest {
    /// Passes since a counter last moved.
    idle_passes: u32,
    moved_at: Duration,
    idle: bool,
    asleep: bool,
    /// When it last woke up; None until the first pass after that.
    up_since: Option<Duration>,
}

impl Rest {
    pub(super) fn new(now: Duration) -> Self {
        Self { idle_passes: 0, moved_at: now, idle: false, asleep: false, up_since: None }
    }

    /// Takes in what a pass saw. True for the pass that finds the table idle: the publisher then
    /// takes in what ended last, because the sleep that follows may be long.
    pub(super) fn note(&mut self, moved: bool, now: Duration) -> bool {
        self.up_since.get_or_insert(now);
        if moved {
            (self.idle, self.idle_passes, self.moved_at) = (false, 0, now);
        } else {
            self.idle_passes += 1;
        }
        let long = now.saturating_sub(self.moved_at) >= IDLE_FOR;
        let idle = self.idle_passes >= IDLE_PASSES || long && self.idle_passes >= LEAST_IDLE_PASSES;
        idle && !std::mem::replace(&mut self.idle, true)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    pub(super) fn moved_at(&self) -> Duration {
        self.moved_at
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    pub(super) fn lie_down(&mut self) {
        self.asleep = true;
    }

    pub(super) fn get_up(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.up_since = None;
        }
        (self.idle, self.idle_passes) = (false, 0);
    }

    /// The time during which the table counted since `then`. It does not count while it sleeps.
    pub(super) fn counted_since(&self, then: Duration, now: Duration) -> Duration {
        now.saturating_sub(then.max(self.up_since.unwrap_or_default()))
    }
}
