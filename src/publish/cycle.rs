//! The publishing thread: one timer for all live tables, asleep while nothing happens.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use pointsman_table::wake;
use tracing::warn;

use super::{bell::Bell, live::Live, period, shared::Shared};
use crate::clock;

/// How often a sleeping publisher looks whether a message got lost. What it finds is a bug, and
/// counted as one.
const BACKSTOP: Duration = Duration::from_millis(500);
/// How often it looks where the kernel can't make sleep safe.
const POLL_WITHOUT_BARRIER: Duration = Duration::from_millis(100);

/// The thread's own state.
pub(super) struct Cycle {
    shared: Arc<Shared>,
    /// How long a cycle takes, smoothed.
    cost: Duration,
    can_sleep: bool,
}

impl Cycle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let can_sleep = wake::probe_barrier().inspect_err(|error| {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
        });
        Self { shared, cost: Duration::ZERO, can_sleep: can_sleep.is_ok() }
    }

    /// Publishes until it is told to stop.
    pub(super) fn run(mut self) {
        let mut next = clock::now();
        while !self.shared.stopping.load(Relaxed) {
            self.shared.take_changes_over();
            let live = self.shared.all();
            let awake = self.cycle(&live);
            let woken;
            if awake {
                next += self.period();
                let now = clock::now();
                if next < now {
                    self.shared.numbers.overruns.fetch_add(1, Relaxed);
                    next = now;
                }
                woken = true;
                self.wait_for_cycle(next);
            } else {
                self.shared.numbers.period_ns.store(0, Relaxed);
                woken = self.sleep(&live);
                next = clock::now();
            }
            self.get_up(&live, woken);
        }
    }

    /// One publication of every table that is awake; whether any still is.
    fn cycle(&mut self, live: &[Arc<Live>]) -> bool {
        let start = clock::now();
        let period = self.period();
        let mut wanted = period::LONGEST;
        let mut idle = Vec::new();
        let mut lost = Vec::new();
        let mut awake = false;
        let mut judged = false;
        for each in live {
            let mut publisher = each.publisher();
            if publisher.is_asleep() {
                continue;
            }
            let before = publisher.plan().clone();
            let pass = publisher.pass(start, period);
            lost.extend(pass.lost.into_iter().map(|address| (each.target(), address)));
            if publisher.plan().version != before.version {
                each.show(&publisher);
                judged |= !publisher.plan().standings().eq(before.standings());
            }
            if publisher.is_idle() {
                idle.push(each);
            } else {
                awake = true;
                wanted = wanted.min(publisher.wanted_period());
            }
        }
        if judged {
            self.shared.judge();
        }
        for (target, address) in lost {
            self.shared.catalog.connection_failed(&target.service, address, start);
        }
        self.shared.numbers.passes.fetch_add(1, Relaxed);
        let cost = clock::now().saturating_sub(start);
        // An eighth of each new cycle: a single preempted one should not stretch the period.
        self.cost = (self.cost * 7 + cost) / 8;
        let period = period::affordable(wanted, self.cost, period);
        self.shared.numbers.period_ns.store(period.as_nanos() as u64, Relaxed);
        self.lie_down(&idle) || awake
    }

    fn period(&self) -> Duration {
        let period = Duration::from_nanos(self.shared.numbers.period_ns.load(Relaxed));
        period.max(period::SHORTEST)
    }

    /// Lets idle tables sleep, all behind one barrier; whether one of them moved after all.
    fn lie_down(&mut self, idle: &[&Arc<Live>]) -> bool {
        if idle.is_empty() {
            return false;
        }
        idle.iter().for_each(|live| live.publisher().lie_down());
        if self.can_sleep
            && let Err(error) = wake::barrier()
        {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
            self.can_sleep = false;
        }
        let mut moved = false;
        for live in idle {
            let mut publisher = live.publisher();
            if publisher.stirred() {
                publisher.get_up();
                moved = true;
            }
        }
        moved
    }

    /// Waits for a message, or for time to change a plan; false if neither came before the
    /// backstop.
    fn sleep(&self, live: &[Arc<Live>]) -> bool {
        let now = clock::now();
        let backstop = if self.can_sleep { BACKSTOP } else { POLL_WITHOUT_BARRIER };
        let change = live.iter().filter_map(|l| l.publisher().next_change()).min();
        let until_change = change.map(|at| at.saturating_sub(now));
        let timeout = until_change.map_or(backstop, |until| until.min(backstop));
        let heard = Bell::wait_for([&self.shared.wake_up, &self.shared.told], timeout);
        heard || until_change.is_some_and(|until| until <= timeout)
    }

    /// Wakes the tables whose counters moved or whose plan is due.
    fn get_up(&self, live: &[Arc<Live>], woken: bool) {
        let now = clock::now();
        for each in live {
            let mut publisher = each.publisher();
            if !publisher.is_asleep() {
                continue;
            }
            let stirred = publisher.stirred();
            if stirred && !woken && self.can_sleep {
                self.shared.numbers.late_wakeups.fetch_add(1, Relaxed);
                warn!(service = %each.target(), "a caller's wake-up message got lost");
            }
            if stirred || publisher.next_change().is_some_and(|at| at <= now) {
                publisher.get_up();
            }
        }
    }

    /// Waits until then. Messages of callers don't end that: the next cycle comes soon enough. It does
    /// not for changed services, where the period is long as there are many tables: those are not
    /// to be picked by what was before. However many change, the cycle is not put off by them.
    fn wait_for_cycle(&self, next: Duration) {
        while let Some(left) = next.checked_sub(clock::now()) {
            if !Bell::wait_for([&self.shared.told], left) {
                break;
            }
            self.shared.take_changes_over();
        }
        self.shared.wake_up.quiet();
    }
}
