//! When a table may sleep: once no counter has moved for a while, whatever is open in it. What was
//! published of streams and leases holds until something moves.

use std::time::Duration;

/// After so many passes without movement it may; or after so long, where its passes are rare.
const IDLE_PASSES: u32 = 50;
const IDLE_FOR: Duration = Duration::from_millis(250);
const LEAST_IDLE_PASSES: u32 = 3;

/// How long nothing has moved in a table, and whether it sleeps.
#[derive(Debug)]
pub(super) struct Rest {
    /// Passes since a counter moved, and when that was.
    idle_passes: u32,
    moved_at: Duration,
    idle: bool,
    asleep: bool,
    /// When it got up; none until the first pass after that.
    up_since: Option<Duration>,
}

impl Rest {
    /// Awake.
    pub(super) fn new(now: Duration) -> Self {
        Self { idle_passes: 0, moved_at: now, idle: false, asleep: false, up_since: None }
    }

    /// What a pass saw. True for the one that finds it idle: what ended last is to be taken in before
    /// it may fall asleep, which can be long.
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

    /// How long was counted since then: nothing is while it sleeps.
    pub(super) fn counted_since(&self, then: Duration, now: Duration) -> Duration {
        now.saturating_sub(then.max(self.up_since.unwrap_or_default()))
    }
}
