//! The publishing thread. It publishes each table in the period that the table's own traffic asks
//! for. A table in which nothing moves sleeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use pointsman_table::wake::{self, Reach};
use tracing::{error, warn};

use super::{
    period,
    schedule::Schedule,
    service_table::ServiceTable,
    share::{Demand, Users, stretches},
    shared::Shared,
    tick::Ticks,
    wake_event::WakeEvent,
    wakeup::TableId,
};
use crate::clock;

/// How often the thread sweeps sleeping tables for a lost wake-up. Each one found is a bug, and
/// counted as one.
const BACKSTOP: Duration = Duration::from_millis(500);
/// The sleeping tables per such sweep: 1,000 tables then cost little, and none waits for more than
/// 5 s.
const LOOKED_AT: usize = 100;
/// How often the thread sweeps all sleeping tables if the kernel has no barrier that makes sleep
/// safe.
const POLL_WITHOUT_BARRIER: Duration = Duration::from_millis(100);
/// A wake-up that is still missing this long after the activity was found is lost. The table stays
/// awake for longer than this, so a wake-up in that time can't be for later activity.
const MESSAGE_LOST: Duration = Duration::from_millis(20);
/// How often the processor time is shared out anew.
const SHARE_OUT_EVERY: Duration = Duration::from_millis(100);
/// How often the users of a table are read.
const ASK_FOR_USERS_EVERY: Duration = Duration::from_secs(1);
/// The assumed cost of a pass before it is measured: the cost of a pass over a hundred endpoints.
const FIRST_COST: Duration = Duration::from_micros(5);
/// One pass in this many is measured, because reading a thread's time costs as much as a small pass
/// (1.5 us). The number does not divide the passes between two plans, because a pass with a plan
/// costs more.
const MEASURED_EVERY: u32 = 7;

/// Reads the processor time of the thread.
pub(super) type Meter = Box<dyn Fn() -> Duration + Send>;

pub(super) struct Cycle {
    shared: Arc<Shared>,
    meter: Meter,
    ticks: Ticks,
    tables: BTreeMap<TableId, Entry>,
    due: Schedule,
    awake: BTreeSet<TableId>,
    /// When the next sweep of sleeping tables is due, and the table it begins with.
    look_at: Duration,
    look_from: TableId,
    shared_out: SharedOut,
    can_sleep: bool,
    /// The next barrier over all processes is not before this time, because it takes milliseconds.
    slow_barrier_at: Duration,
}

/// What ends a wait of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When the next table is due, or the next sweep of sleeping tables.
    pub(super) until: Duration,
    /// When a caller's wake-up may end it. After a publication that is the next tick: callers can't
    /// cause more turns than there are ticks.
    pub(super) callers_from: Duration,
}

struct Entry {
    /// Weak: a table goes when its owner drops it, though the thread may find that out later.
    live: Weak<ServiceTable>,
    /// The period that its traffic asks for.
    wanted: Duration,
    /// The period in force.
    period: Duration,
    /// The processor time of a pass, smoothed.
    cost: Duration,
    /// Passes until the cost is measured again.
    until_measured: u32,
    /// The factor that keeps all tables within the budget.
    stretch: f64,
    users: Users,
    /// The time since which a wake-up is missing.
    suspected: Option<Duration>,
    /// Callers could not move to a larger table yet.
    behind: bool,
}

/// When the processor time was shared out last, among how many tables, and when the users were read
/// last.
#[derive(Default)]
struct SharedOut {
    at: Duration,
    among: usize,
    users_at: Duration,
}

impl Cycle {
    pub(super) fn new(shared: Arc<Shared>, meter: Meter) -> Self {
        let can_sleep = wake::probe_barrier(Reach::ThisProcess).inspect_err(|error| {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
        });
        Self {
            shared,
            ticks: Ticks::default(),
            meter,
            tables: BTreeMap::new(),
            due: Schedule::default(),
            awake: BTreeSet::new(),
            look_at: Duration::ZERO,
            look_from: 0,
            shared_out: SharedOut::default(),
            can_sleep: can_sleep.is_ok(),
            slow_barrier_at: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopping.load(Relaxed) {
            let wait = self.turn(clock::now());
            let measured_from = self.ticks.measures().then(|| (self.meter)());
            self.wait(wait);
            if let Some(from) = measured_from {
                self.waited((self.meter)().saturating_sub(from));
            }
        }
    }

    /// Takes in the processor time of a wait.
    pub(super) fn waited(&mut self, cost: Duration) {
        self.ticks.waited(cost);
    }

    /// Publishes the tables that are due. Returns how long the thread may wait.
    pub(super) fn turn(&mut self, now: Duration) -> Wait {
        // The wake-ups are taken before the new tables: a table that is not known yet was opened
        // since, and is published at once.
        let woken = self.shared.wakeups.take();
        let changed = self.shared.take_changes_over();
        self.take_in_opened(now);
        for table in woken {
            if let Some(entry) = self.tables.get_mut(&table) {
                entry.suspected = None;
                self.wake(table, now);
            }
        }
        changed.into_iter().for_each(|table| self.wake(table, now));
        if self.look_at <= now {
            self.look_at_sleeping(now);
        }
        self.share_out(now);
        let published = self.publish_due(now);
        if self.awake.is_empty() {
            self.shared.numbers.period_ns.store(0, Relaxed);
        }
        let until = self.due.next().map_or(self.look_at, |due| due.min(self.look_at));
        let next_tick = self.ticks.of(now) + self.ticks.length();
        Wait { until, callers_from: if published { next_tick } else { now } }
    }

    fn take_in_opened(&mut self, now: Duration) {
        for live in self.shared.take_opened() {
            let table = live.id();
            let entry = Entry {
                live: Arc::downgrade(&live),
                wanted: period::SHORTEST,
                period: period::SHORTEST,
                cost: FIRST_COST,
                until_measured: 0,
                stretch: 1.0,
                users: Users::new(),
                suspected: None,
                behind: false,
            };
            self.tables.insert(table, entry);
            self.wake(table, now);
        }
    }

    fn live(&self, table: TableId) -> Option<Arc<ServiceTable>> {
        self.tables.get(&table)?.live.upgrade()
    }

    fn forget(&mut self, table: TableId) {
        self.due.cancel(table);
        self.awake.remove(&table);
        self.tables.remove(&table);
    }

    /// Publishes a table at once, and from then on in its period.
    fn wake(&mut self, table: TableId, now: Duration) {
        let Some(live) = self.live(table) else { return };
        live.publisher().get_up();
        self.awake.insert(table);
        self.due.set(table, now);
    }

    /// Publishes the tables that are due. Tables in which nothing moves any more fall asleep.
    /// Returns whether any was due.
    fn publish_due(&mut self, now: Duration) -> bool {
        let mut idle = Vec::new();
        let mut published = false;
        let mut judged = false;
        let mut shortest = Duration::MAX;
        for (at, table) in self.due.take_due(now) {
            if !self.awake.contains(&table) {
                // A sleeping table is due when its plan or its scores change by time alone.
                self.wake(table, now);
            }
            let Some(entry) = self.tables.get_mut(&table) else { continue };
            let Some(live) = entry.live.upgrade() else {
                self.forget(table);
                continue;
            };
            published = true;
            judged |= entry.publish(&live, &self.shared, &self.meter, now);
            entry.choose_period(&self.ticks);
            entry.count_lost(&live, &self.shared, now, self.can_sleep);
            shortest = shortest.min(entry.period);
            let mut next = self.ticks.of(at) + entry.period;
            if next <= now {
                self.shared.numbers.overruns.fetch_add(1, Relaxed);
                next = self.ticks.of(now) + entry.period;
            }
            self.due.set(table, next);
            if live.publisher().is_idle() {
                idle.push((table, live));
            }
        }
        if judged {
            self.shared.judge();
        }
        self.show_period(shortest);
        self.lie_down(idle, now);
        published
    }

    /// Stretches the periods of holders that want more than their share.
    fn share_out(&mut self, now: Duration) {
        let SharedOut { at, among, users_at } = self.shared_out;
        let many_more = self.awake.len() > among + among / 4 + 2;
        if now < at + SHARE_OUT_EVERY && !many_more {
            return;
        }
        let ask = now >= users_at + ASK_FOR_USERS_EVERY;
        let users_at = if ask { now } else { users_at };
        self.shared_out = SharedOut { at: now, among: self.awake.len(), users_at };
        self.ticks.adapt();
        let mut wanted: Vec<(TableId, f64, Users)> = Vec::with_capacity(self.awake.len());
        for table in &self.awake {
            let Some(entry) = self.tables.get_mut(table) else { continue };
            if ask || entry.users.is_empty() {
                let users = entry.live.upgrade().map(|live| live.take_users()).unwrap_or_default();
                if !users.is_empty() {
                    entry.users = users;
                }
            }
            let share = entry.cost.as_secs_f64() / self.ticks.whole(entry.wanted).as_secs_f64();
            wanted.push((*table, share, entry.users.clone()));
        }
        let demands: Vec<Demand<'_>> =
            wanted.iter().map(|(_, share, users)| Demand { share: *share, users }).collect();
        let mut shortest = Duration::MAX;
        let stretches = stretches(&demands, self.ticks.left_for_passes());
        for ((table, ..), stretch) in wanted.iter().zip(stretches) {
            let Some(entry) = self.tables.get_mut(table) else { continue };
            entry.stretch = stretch;
            entry.choose_period(&self.ticks);
            shortest = shortest.min(entry.period);
        }
        if shortest < Duration::MAX {
            self.shared.numbers.period_ns.store(shortest.as_nanos() as u64, Relaxed);
        }
    }

    /// Keeps the metric of the shortest period right between two calls of [`Self::share_out`].
    fn show_period(&self, published: Duration) {
        let shown = &self.shared.numbers.period_ns;
        let before = shown.load(Relaxed);
        if published < Duration::MAX && (before == 0 || published.as_nanos() < before.into()) {
            shown.store(published.as_nanos() as u64, Relaxed);
        }
    }

    /// Puts these tables to sleep behind one barrier, except those that moved in the meantime.
    fn lie_down(&mut self, mut idle: Vec<(TableId, Arc<ServiceTable>)>, now: Duration) {
        let reaches_others =
            |(_, live): &(TableId, Arc<ServiceTable>)| live.publisher().is_known_to_others();
        let mut reach = Reach::ThisProcess;
        if idle.iter().any(reaches_others) {
            match self.slow_barrier_at <= now {
                true => reach = Reach::AllProcesses,
                false => idle.retain(|each| !reaches_others(each)),
            }
        }
        if reach == Reach::AllProcesses {
            self.slow_barrier_at = now + BACKSTOP;
        }
        if idle.is_empty() {
            return;
        }
        idle.iter().for_each(|(_, live)| live.publisher().lie_down());
        if self.can_sleep
            && let Err(error) = wake::barrier(reach)
        {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
            self.can_sleep = false;
        }
        for (table, live) in idle {
            let mut publisher = live.publisher();
            if publisher.stirred() {
                publisher.get_up();
                continue;
            }
            self.awake.remove(&table);
            match publisher.next_change() {
                Some(at) => self.due.set(table, at),
                None => self.due.cancel(table),
            }
        }
    }

    /// Sweeps some sleeping tables, and the others next time: activity there should have sent a
    /// wake-up. Forgets closed tables.
    fn look_at_sleeping(&mut self, now: Duration) {
        let (often, many) = match self.can_sleep {
            true => (BACKSTOP, LOOKED_AT),
            false => (POLL_WITHOUT_BARRIER, usize::MAX),
        };
        self.look_at = now + often;
        self.shared.try_again();
        for table in self.shared.take_closed() {
            self.forget(table);
        }
        let asleep = self.tables.range(self.look_from..);
        let asleep = asleep.filter(|(table, _)| !self.awake.contains(table));
        let looked_at: Vec<TableId> = asleep.map(|(table, _)| *table).take(many).collect();
        self.look_from = match looked_at.last() {
            Some(last) if looked_at.len() == many => last + 1,
            _ => 0,
        };
        for table in looked_at {
            if !self.live(table).is_some_and(|live| live.publisher().stirred()) {
                continue;
            }
            self.wake(table, now);
            if let Some(entry) = self.tables.get_mut(&table) {
                entry.suspected = Some(now);
            }
        }
    }

    /// Waits for the next table that is due, a changed service or a caller's wake-up. A changed
    /// service ends the wait at any time, since callers must not go on picking old endpoints.
    fn wait(&self, Wait { until, callers_from }: Wait) {
        let (changed, woken) = (&self.shared.changed_event, self.shared.wakeups.event());
        let left = |until: Duration| until.checked_sub(clock::now()).filter(|left| !left.is_zero());
        if let Some(left) = left(callers_from.min(until))
            && WakeEvent::wait_for([changed], left)
        {
            return;
        }
        if let Some(left) = left(until) {
            WakeEvent::wait_for([changed, woken], left);
        }
    }
}

impl Entry {
    /// Publishes the table once. Returns whether its ejections changed.
    fn publish(
        &mut self,
        live: &ServiceTable,
        shared: &Shared,
        meter: &Meter,
        now: Duration,
    ) -> bool {
        let mut publisher = live.publisher();
        let before = publisher.plan().clone();
        let measured_from = (self.until_measured == 0).then(meter);
        let pass = publisher.pass(now, self.period);
        shared.numbers.passes.fetch_add(1, Relaxed);
        self.until_measured = match measured_from {
            Some(from) => {
                let spent = meter().saturating_sub(from);
                // The newest cost weighs a quarter: a single expensive pass must not stretch the
                // period.
                self.cost = (self.cost * 3 + spent) / 4;
                MEASURED_EVERY - 1
            }
            None => self.until_measured - 1,
        };
        let replanned = publisher.plan().version != before.version;
        let judged = replanned && !publisher.plan().outlier_states().eq(before.outlier_states());
        // A new plan is shown even if it decides the same: otherwise callers would keep the old
        // one, and both would stay in memory.
        if pass.superseded || !Arc::ptr_eq(publisher.plan(), &before) || self.behind {
            let shown = live.show(&mut publisher);
            if let Err(error) = &shown
                && !self.behind
            {
                error!(
                    service = %live.target(),
                    %error,
                    "the table could not be shown: callers keep the previous table"
                );
            }
            self.behind = shown.is_err();
        }
        self.wanted = publisher.wanted_period();
        drop(publisher);
        for address in pass.lost {
            shared.catalog.connection_failed(&live.target().service, address, now);
        }
        judged
    }

    fn choose_period(&mut self, ticks: &Ticks) {
        let stretched = self.stretch > 1.0;
        let needed = if stretched { self.wanted.mul_f64(self.stretch) } else { Duration::ZERO };
        self.period = ticks.whole(period::affordable(self.wanted, needed, self.period));
    }

    /// Counts a wake-up that is lost.
    fn count_lost(&mut self, live: &ServiceTable, shared: &Shared, now: Duration, can_sleep: bool) {
        if self.suspected.is_some_and(|since| since + MESSAGE_LOST <= now) {
            self.suspected = None;
            if can_sleep {
                shared.numbers.late_wakeups.fetch_add(1, Relaxed);
                warn!(service = %live.target(), "a caller's wake-up message got lost");
            }
        }
    }
}
