//! The pick: arithmetic on a few numbers of the table, without a system call or an allocation.
//!
//! In order: notice a new generation; draw a group; draw its candidates; take the eligible one with
//! the lowest score; look into the overflow group if that is too high; count the start. Each is
//! specified to the bit, since every language has to make the same pick from the same seed.

use std::{marker::PhantomData, sync::Arc};

use crate::{
    atomic::{Acquire, Relaxed, fence},
    candidates::Pair,
    counters::Counters,
    layout::{ASLEEP_AT, BANKS_AT, GENERATION_AT, Layout, PUBLICATION_AT},
    memory::Words,
    observe::{Explanation, Observer, Recorder},
    plan::{Kind, Plan},
    random::Random,
    shard::{Atomic, Form, Outcome, ServerLoad, Shard},
    structure::{EndpointRecord, Structure},
    table::{Cell, Table},
    view::{Load, Own, View, Winner},
    wake::{Waker, before_asleep},
};

/// What is asked of a pick.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Slots that may not be picked, such as those that were tried already.
    pub exclude: &'a [u32],
    /// How much of a request it is; 0 is taken as 1.
    pub cost: u32,
    /// What to hash by, in a hashed group. Without one a random row is taken.
    pub key: Option<&'a [u8]>,
}

impl Default for Request<'_> {
    /// Any slot, cost 1, no key.
    fn default() -> Self {
        Self { exclude: &[], cost: 1, key: None }
    }
}

/// A picked slot, in flight until [`Picker::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pick {
    /// The endpoint's slot.
    pub slot: u32,
    /// The cost that was counted, to be given back at the end.
    pub cost: u32,
}

/// Picks for one thread. It owns its randomness, its shard of the counters, and what it has
/// started and ended since the last publication.
///
/// A request may be ended by another picker of the same counters than started it.
#[derive(Debug)]
pub struct Picker<F: Form = Atomic> {
    header: Words,
    cells: Words,
    plan: Arc<Plan>,
    /// The last generation that was looked at; not the plan's if that could not be followed.
    examined: u32,
    superseded: bool,
    /// Cells of this picker alone, while detached.
    detached: bool,
    own: Box<[Own]>,
    shard: Shard,
    random: Random,
    waker: Option<Waker>,
    table: Arc<Table>,
    exclude: Vec<u32>,
    form: PhantomData<F>,
}

impl<F: Form> Picker<F> {
    /// A picker for the calling thread, in a shard of its own as far as they go. `waker` wakes the
    /// agent if it sleeps; without one the first picks after a pause wait for its backstop.
    /// Panics where the counters have fewer slots than the table.
    pub fn new(
        table: Arc<Table>,
        counters: Arc<Counters>,
        seed: u32,
        waker: Option<Waker>,
    ) -> Self {
        let ticket = counters.take_ticket();
        let shard = ticket % counters.shards();
        Self::over(table, seed, waker, Shard::take(counters, shard, ticket))
    }

    /// As `new`, in a certain shard; panics if there is no such shard.
    pub fn with_shard(
        table: Arc<Table>,
        counters: Arc<Counters>,
        seed: u32,
        waker: Option<Waker>,
        shard: u32,
    ) -> Self {
        let ticket = counters.take_ticket();
        Self::over(table, seed, waker, Shard::take(counters, shard, ticket))
    }

    fn over(table: Arc<Table>, seed: u32, waker: Option<Waker>, shard: Shard) -> Self {
        let slots = table.capacity().slots;
        assert!(shard.counters().slots() >= slots, "counters for fewer slots than the table has");
        let mut picker = Self {
            header: table.header(),
            cells: table.cells(),
            plan: Arc::new(Plan::nothing(slots)),
            examined: 0,
            superseded: false,
            detached: false,
            own: vec![Own::default(); slots as usize].into(),
            shard,
            random: Random::new(seed),
            waker,
            table,
            exclude: Vec::new(),
            form: PhantomData,
        };
        picker.look();
        picker
    }

    /// Picks an endpoint and counts its start. `None`: none can be picked.
    #[inline]
    pub fn pick(&mut self, request: &Request<'_>) -> Option<Pick> {
        self.pick_observed(request, &mut ())
    }

    /// Picks, and says how it came about. It counts as a pick.
    pub fn explained(&mut self, request: &Request<'_>) -> Explanation {
        let mut recorder = Recorder::default();
        let pick = self.pick_observed(request, &mut recorder);
        let generation = self.plan.generation;
        let mut explanation = recorder.explanation;
        if self.plan.structure.groups.is_empty() {
            explanation.group = None;
        }
        Explanation { pick, generation, ..explanation }
    }

    /// Picks up to `count` distinct endpoints into `picks`, which is cleared. The first is started;
    /// the others are for the caller to [`start`](Self::start) if it comes to them.
    pub fn pick_many(&mut self, request: &Request<'_>, count: usize, picks: &mut Vec<Pick>) {
        picks.clear();
        if count == 0 {
            return;
        }
        let Some(first) = self.pick(request) else { return };
        picks.push(first);
        let mut exclude = std::mem::take(&mut self.exclude);
        exclude.clear();
        exclude.extend(request.exclude);
        exclude.push(first.slot);
        while picks.len() < count {
            let publication = self.look();
            let request = Request { exclude: &exclude, ..*request };
            let Some(slot) = self.choose(publication, &request, &mut ()) else { break };
            picks.push(Pick { slot, cost: first.cost });
            exclude.push(slot);
        }
        self.exclude = exclude;
    }

    /// Counts the start of a request at a slot that was picked but not started. Nothing happens
    /// for a slot that the table does not have.
    pub fn start(&mut self, slot: u32, cost: u32) {
        if (slot as usize) < self.own.len() {
            let publication = self.header.at(PUBLICATION_AT).load(Relaxed);
            fence(Acquire);
            // SAFETY: just checked.
            unsafe { self.start_at(slot, cost.max(1), publication) };
        }
    }

    /// Counts the end of a request, of this picker or another of the same counters. `latency_us`:
    /// if it was timed, which one request in eight is enough of; it is used for `Success`,
    /// `Failure` and `Expired`. Nothing happens for a slot that the table does not have.
    #[inline]
    pub fn end(&mut self, slot: u32, cost: u32, outcome: Outcome, latency_us: Option<u32>) {
        if (slot as usize) < self.own.len() {
            // Before the counters: a sweep that misses this end belongs to a later publication.
            let publication = self.header_word(PUBLICATION_AT);
            let cost = cost.max(1);
            // SAFETY: just checked, and the counters have at least the table's slots.
            unsafe {
                self.shard.end::<F>(slot, cost, outcome, latency_us);
                self.add_own(slot, publication, cost.wrapping_neg());
            }
            self.wake_if_asleep();
        }
    }

    /// Counts a retry.
    pub fn retried(&mut self) {
        self.shard.retried::<F>();
        self.wake_if_asleep();
    }

    /// Keeps what a server said of its load.
    pub fn report_load(&mut self, slot: u32, load: &ServerLoad) {
        self.shard.report::<F>(slot, load);
        self.wake_if_asleep();
    }

    /// The structure that picks follow, as of the last pick.
    pub fn structure(&self) -> &Structure {
        &self.plan.structure
    }

    /// The endpoint behind a slot, if the structure has it.
    #[inline]
    pub fn endpoint(&self, slot: u32) -> Option<&EndpointRecord> {
        self.plan.endpoint(slot)
    }

    /// The structure's generation; 0 before the first.
    pub fn generation(&self) -> u32 {
        self.plan.generation
    }

    /// Whether another table has taken this one's place, as of the last pick that noticed a
    /// generation. The agent says so by message first.
    pub fn superseded(&self) -> bool {
        self.superseded
    }

    /// The table that it picks from.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Goes on without the agent: weights, groups and closed slots stay as they are, and the only
    /// load is what this process has in flight. What others had in flight when the agent went is
    /// poison soon after: 50 callers that go on believing it have ten times the p99 of callers
    /// that go by their own. For the same reason limits other than 0, and knees, are lifted.
    ///
    /// To attach again, make a new picker of the new table.
    pub fn detach(&mut self) {
        self.look();
        let own_load = |cell: Cell| Cell {
            slope: cell.slope,
            limit: if cell.limit == 0 { 0 } else { i32::MAX },
            ..Cell::default()
        };
        let cells = Words::on_heap(self.cells.len());
        for slot in 0..self.own.len() as u32 {
            let cell = own_load(self.table.cell(slot).unwrap_or_default());
            for (word, value) in cell.to_words().into_iter().enumerate() {
                cells.at(Layout::cell(slot) + word).store(value, Relaxed);
            }
        }
        self.cells = cells;
        // A header in which nothing ever happens: no generation, nobody asleep.
        let header = Words::on_heap(self.header.len());
        header.at(GENERATION_AT).store(self.examined, Relaxed);
        self.header = header;
        self.detached = true;
    }

    /// Whether it goes on without the agent.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    #[inline(always)]
    fn pick_observed(
        &mut self,
        request: &Request<'_>,
        observer: &mut impl Observer,
    ) -> Option<Pick> {
        let publication = self.look();
        observer.begin(publication);
        let slot = self.choose(publication, request, observer)?;
        let cost = request.cost.max(1);
        // SAFETY: the plan names only slots of its table.
        unsafe { self.start_at(slot, cost, publication) };
        Some(Pick { slot, cost })
    }

    /// Notices a new generation, and gives the current publication. The cells that are read from
    /// here on are those of this publication or later.
    #[inline(always)]
    fn look(&mut self) -> u32 {
        let generation = self.header_word(GENERATION_AT);
        let publication = self.header_word(PUBLICATION_AT);
        fence(Acquire);
        if generation != self.examined {
            self.refresh();
        }
        publication
    }

    #[cold]
    #[inline(never)]
    fn refresh(&mut self) {
        if let Some(latest) = self.table.latest(self.examined == 0) {
            self.superseded = self.table.superseded();
            self.examined = latest.examined;
            self.plan = latest.plan;
        }
    }

    #[inline(always)]
    fn choose(
        &mut self,
        publication: u32,
        request: &Request<'_>,
        observer: &mut impl Observer,
    ) -> Option<u32> {
        let plan = &*self.plan;
        let mut group = 0;
        if plan.branches.len() > 1 {
            let draw = self.random.draw();
            group = plan.branches.iter().position(|branch| branch.takes(draw)).unwrap_or(0);
        }
        debug_assert!(group < plan.branches.len());
        // SAFETY: there is always a first, and the position of another is one.
        let branch = unsafe { plan.branches.get_unchecked(group) };
        observer.group(group);
        // The usual case knows nothing of excluded slots, nor of a whole process's own load.
        if branch.kind == Kind::Two && request.exclude.is_empty() && !self.detached {
            let load = Load { cells: &self.cells, own: &self.own, publication };
            let pair = Pair::draw(plan.rows(branch), load, &mut self.random, observer);
            if pair.settles(branch) {
                return Some(pair.slot());
            }
            return self.choose_further(group, pair.winner(), publication, request, observer);
        }
        self.choose_slowly(group, publication, request, observer)
    }

    #[inline(never)]
    fn choose_slowly(
        &mut self,
        group: usize,
        publication: u32,
        request: &Request<'_>,
        observer: &mut impl Observer,
    ) -> Option<u32> {
        let (view, random) = self.view(publication, request);
        let winner = view.best(&view.plan.branches[group], random, observer);
        self.choose_further(group, winner, publication, request, observer)
    }

    #[inline(never)]
    fn choose_further(
        &mut self,
        group: usize,
        winner: Winner,
        publication: u32,
        request: &Request<'_>,
        observer: &mut impl Observer,
    ) -> Option<u32> {
        let (view, random) = self.view(publication, request);
        view.settle(&view.plan.branches[group], winner, random, observer)
    }

    fn view<'a>(
        &'a mut self,
        publication: u32,
        request: &'a Request<'a>,
    ) -> (View<'a>, &'a mut Random) {
        let load = Load { cells: &self.cells, own: &self.own, publication };
        let process = self.detached.then_some(self.shard.counters());
        (View { plan: &self.plan, load, request, process }, &mut self.random)
    }

    /// # Safety
    /// `slot` is below the table's slots.
    #[inline(always)]
    unsafe fn start_at(&mut self, slot: u32, cost: u32, publication: u32) {
        // SAFETY: the caller's promise; the counters have at least the table's slots.
        unsafe {
            self.shard.start::<F>(slot, cost);
            self.add_own(slot, publication, cost);
        }
        self.wake_if_asleep();
    }

    #[inline(always)]
    fn wake_if_asleep(&self) {
        before_asleep();
        if self.header_word(ASLEEP_AT) != 0 {
            self.wake();
        }
    }

    /// # Safety
    /// `slot` is below the table's slots.
    #[inline(always)]
    unsafe fn add_own(&mut self, slot: u32, publication: u32, cost: u32) {
        debug_assert!((slot as usize) < self.own.len());
        // SAFETY: `own` has the table's slots.
        let own = unsafe { self.own.get_unchecked_mut(slot as usize) };
        let delta = own.since(publication).wrapping_add(cost as i32);
        *own = Own { publication, delta };
    }

    #[inline(always)]
    fn header_word(&self, at: usize) -> u32 {
        debug_assert!(at < BANKS_AT);
        // SAFETY: the header has `BANKS_AT` words.
        unsafe { self.header.at_unchecked(at) }.load(Relaxed)
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            // If the other end is gone the caller learns of it from the socket, not here.
            let _sent = waker.wake();
        }
    }
}
