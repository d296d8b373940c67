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

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_table_may_sleep_after_fifty_passes_without_movement_and_says_so_once() {
        let mut rest = Rest::new(ms(0));
        for round in [0, 100] {
            assert!(!rest.note(true, ms(round)));
            let noted: Vec<_> =
                (1..=60).filter(|pass| rest.note(false, ms(round + pass))).collect();
            assert_eq!((noted, rest.is_idle()), (vec![50], true));
            assert_eq!(rest.moved_at(), ms(round));
        }
        assert!(!rest.note(true, ms(200)) && !rest.is_idle());
    }

    #[test]
    fn where_passes_are_rare_a_quarter_of_a_second_with_three_of_them_is_enough() {
        let noted = |times: &[u64]| {
            let mut rest = Rest::new(ms(1_000));
            times.iter().map(|at| rest.note(false, ms(*at))).collect::<Vec<_>>()
        };
        assert_eq!(noted(&[1_100, 1_200, 1_249, 1_250]), [false, false, false, true]);
        assert_eq!(noted(&[1_300, 1_400, 1_500]), [false, false, true]);
    }

    #[test]
    fn who_gets_up_has_all_passes_before_it_again() {
        let mut rest = Rest::new(ms(0));
        (1..=50).for_each(|pass| _ = rest.note(false, ms(pass)));
        rest.lie_down();
        assert!(rest.is_asleep() && rest.is_idle());
        rest.get_up();
        assert!(!rest.is_asleep() && !rest.is_idle());
        let noted: Vec<_> = (51..=120).filter(|pass| rest.note(false, ms(*pass))).collect();
        assert_eq!(noted, [100]);
    }

    #[test]
    fn the_time_of_a_sleep_is_not_counted() {
        let mut rest = Rest::new(ms(0));
        rest.note(true, ms(10));
        assert_eq!(rest.counted_since(ms(0), ms(30)), ms(20), "since the first pass");
        assert_eq!(rest.counted_since(ms(25), ms(30)), ms(5));
        rest.get_up();
        assert_eq!(rest.counted_since(ms(0), ms(30)), ms(20), "it was up");
        rest.lie_down();
        rest.get_up();
        rest.note(true, ms(1_000));
        assert_eq!(rest.counted_since(ms(25), ms(1_001)), ms(1));
    }
}
