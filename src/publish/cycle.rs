//! The publishing thread: each table in the period that its own traffic wants, asleep while nothing
//! moves in it.

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

/// How often sleeping tables are looked at for a message that got lost. What that finds is a bug, and
/// counted as one.
const BACKSTOP: Duration = Duration::from_millis(500);
/// So many at a time, so that 1,000 tables cost little and none waits for longer than 5 s.
const LOOKED_AT: usize = 100;
/// How often where the kernel can't make sleep safe, and then at all of them.
const POLL_WITHOUT_BARRIER: Duration = Duration::from_millis(100);
/// A message that is still not here so long after what it is about was found is lost. The table stays
/// awake for longer than this, so that the message can't be one of later.
const MESSAGE_LOST: Duration = Duration::from_millis(20);
/// How often the processor time is shared out anew, and how often it is asked who uses a table.
const SHARE_OUT_EVERY: Duration = Duration::from_millis(100);
const ASK_FOR_USERS_EVERY: Duration = Duration::from_secs(1);
/// What a pass is taken to cost until it was measured: one over a hundred endpoints.
const FIRST_COST: Duration = Duration::from_micros(5);
/// One pass in so many is measured: asking for a thread's time costs as much as a small pass (1.5 us).
/// Not a divisor of the passes from one plan to the next, which cost more.
const MEASURED_EVERY: u32 = 7;

/// What the thread has had of a processor.
pub(super) type Meter = Box<dyn Fn() -> Duration + Send>;

/// The thread's own state.
pub(super) struct Cycle {
    shared: Arc<Shared>,
    meter: Meter,
    ticks: Ticks,
    tables: BTreeMap<TableId, Entry>,
    due: Schedule,
    awake: BTreeSet<TableId>,
    /// When sleeping tables are looked at next, and from which one on.
    look_at: Duration,
    look_from: TableId,
    shared_out: SharedOut,
    can_sleep: bool,
    /// A barrier over all processes takes milliseconds, so it waits until then.
    slow_barrier_at: Duration,
}

/// What the thread knows of a table.
struct Entry {
    /// Gone with whoever owns it, though this thread may hear of that later.
    live: Weak<ServiceTable>,
    /// That its traffic wants, and that it has.
    wanted: Duration,
    period: Duration,
    /// Processor time of a pass, smoothed, and after how many passes it is measured again.
    cost: Duration,
    until_measured: u32,
    /// By what its period is stretched, so that all stay within the budget.
    stretch: f64,
    users: Users,
    /// Since when it is suspected that a message got lost.
    suspected: Option<Duration>,
    /// Callers could not follow to a larger table yet.
    behind: bool,
}

/// When the processor time was shared out, among how many, and when it was asked for users.
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

    /// Publishes until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stopping.load(Relaxed) {
            let now = clock::now();
            let before = self.shared.numbers.passes.load(Relaxed);
            let next = self.turn(now);
            let published = self.shared.numbers.passes.load(Relaxed) > before;
            let next_tick = self.ticks.of(now) + self.ticks.length();
            let measured_from = self.ticks.measures().then(|| (self.meter)());
            self.wait(next, if published { next_tick } else { now });
            if let Some(from) = measured_from {
                self.waited((self.meter)().saturating_sub(from));
            }
        }
    }

    /// A wait took so much of a processor.
    pub(super) fn waited(&mut self, cost: Duration) {
        self.ticks.waited(cost);
    }

    /// Publishes what is due, and says when something is next.
    pub(super) fn turn(&mut self, now: Duration) -> Duration {
        // Before the tables that were opened: one that is not known yet has been opened since.
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
        self.publish_due(now);
        if self.awake.is_empty() {
            self.shared.numbers.period_ns.store(0, Relaxed);
        }
        self.due.next().map_or(self.look_at, |due| due.min(self.look_at))
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

    /// A table that there still is.
    fn live(&self, table: TableId) -> Option<Arc<ServiceTable>> {
        self.tables.get(&table)?.live.upgrade()
    }

    /// Nothing is kept of a table that is no more.
    fn forget(&mut self, table: TableId) {
        self.due.cancel(table);
        self.awake.remove(&table);
        self.tables.remove(&table);
    }

    /// Has a table published at once, and from then on in its period.
    fn wake(&mut self, table: TableId, now: Duration) {
        let Some(live) = self.live(table) else { return };
        live.publisher().get_up();
        self.awake.insert(table);
        self.due.set(table, now);
    }

    /// Publishes the tables that are due, and lets those sleep in which nothing moves any more.
    fn publish_due(&mut self, now: Duration) {
        let mut idle = Vec::new();
        let mut judged = false;
        let mut shortest = Duration::MAX;
        for (at, table) in self.due.take_due(now) {
            if !self.awake.contains(&table) {
                // Its time has come to change by itself.
                self.wake(table, now);
            }
            let Some(entry) = self.tables.get_mut(&table) else { continue };
            let Some(live) = entry.live.upgrade() else {
                self.forget(table);
                continue;
            };
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
    }

    /// Stretches the periods of those who want more than there is.
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

    /// Keeps the shortest period known between two times that it is shared out.
    fn show_period(&self, published: Duration) {
        let shown = &self.shared.numbers.period_ns;
        let before = shown.load(Relaxed);
        if published < Duration::MAX && (before == 0 || published.as_nanos() < before.into()) {
            shown.store(published.as_nanos() as u64, Relaxed);
        }
    }

    /// Lets these tables sleep, all behind one barrier, but for those that move after all.
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

    /// Looks at some sleeping tables, the others next time: what moves there should have sent a
    /// message. Lets go of tables that are no more.
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

    /// Waits until then, or for a caller that wakes a table; not for callers before `soonest`, so that
    /// they can't have more turns than there are ticks. Changed services cut that short: they are not
    /// to be picked by what was before.
    fn wait(&self, until: Duration, soonest: Duration) {
        let (told, woken) = (&self.shared.told, self.shared.wakeups.bell());
        let left = |until: Duration| until.checked_sub(clock::now()).filter(|left| !left.is_zero());
        if let Some(left) = left(soonest.min(until))
            && WakeEvent::wait_for([told], left)
        {
            return;
        }
        if let Some(left) = left(until) {
            WakeEvent::wait_for([told, woken], left);
        }
    }
}

impl Entry {
    /// One publication; whether judgements changed.
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
                // A quarter of each new one: a single dear pass should not stretch the period.
                self.cost = (self.cost * 3 + spent) / 4;
                MEASURED_EVERY - 1
            }
            None => self.until_measured - 1,
        };
        let replanned = publisher.plan().version != before.version;
        let judged = replanned && !publisher.plan().outlier_states().eq(before.outlier_states());
        // Also where the new plan decides as the one before: or both would be kept.
        if pass.superseded || !Arc::ptr_eq(publisher.plan(), &before) || self.behind {
            let shown = live.show(&mut publisher);
            if let Err(error) = &shown
                && !self.behind
            {
                error!(service = %live.target(), %error, "callers stay with the table before");
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

    /// Counts a message that did not come.
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
