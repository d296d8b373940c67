//! The pick: arithmetic on a few numbers of the table, without a system call or an allocation.
//!
//! A pick has these steps: notice a new generation; draw a group; draw its candidates; take the
//! eligible one with the lowest score; examine the overflow group if that score is too high; count the
//! start. Each step is specified to the bit: all languages must make the same pick from the same seed.

use std::{marker::PhantomData, sync::Arc};

use crate::{
    atomic::{Acquire, Relaxed, fence},
    candidates::Pair,
    counters::Counters,
    layout::{ASLEEP_AT, BANKS_AT, GENERATION_AT, Layout, PUBLICATION_AT},
    memory::Words,
    observe::{Explanation, Observer, Recorder},
    pick::{Pick, Request},
    pick_plan::{Kind, Plan},
    random::Random,
    score::{Load, Own, View, Winner},
    shard::{Atomic, Form, Outcome, ServerLoad, Shard},
    structure::{EndpointRecord, Structure},
    table::{Cell, Table},
    wake::{Waker, before_asleep},
};

/// Picks for one thread. It owns its random generator, its shard of the counters, and the counts of
/// what it has started and ended since the last publication.
///
/// A picker may end a request that another picker of the same counters started.
#[derive(Debug)]
pub struct Picker<F: Form = Atomic> {
    header: Words,
    cells: Words,
    plan: Arc<Plan>,
    /// The last generation that was examined. It differs from the plan's if it could not be used.
    examined: u32,
    superseded: bool,
    /// Set while `cells` is a private copy of this picker.
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
    /// A picker for the calling thread. It has a shard of its own while there are enough shards.
    /// `waker` wakes the agent if it sleeps. Without a waker the agent notices the first picks after a
    /// pause only at its next periodic check. Panics if the counters have fewer slots than the table.
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

    /// Like `new`, with a given shard. Panics if there is no such shard.
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

    /// Picks an endpoint and counts its start. `None` if no endpoint can be picked.
    #[inline]
    pub fn pick(&mut self, request: &Request<'_>) -> Option<Pick> {
        self.pick_observed(request, &mut ())
    }

    /// Picks, and explains the pick. It counts as a pick.
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

    /// Clears `picks` and picks up to `count` distinct endpoints into it. The first one is started. The
    /// caller [starts](Self::start) another one when it uses it.
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

    /// Counts the start of a request at a slot that was picked but not started. A slot that the table
    /// does not have is ignored.
    pub fn start(&mut self, slot: u32, cost: u32) {
        if (slot as usize) < self.own.len() {
            let publication = self.header.at(PUBLICATION_AT).load(Relaxed);
            fence(Acquire);
            // SAFETY: just checked.
            unsafe { self.start_at(slot, cost.max(1), publication) };
        }
    }

    /// Counts the end of a request that this picker, or another one of the same counters, started.
    /// `latency_us` is set if the caller timed the request. To time one request in eight is enough. The
    /// latency is used for `Success`, `Failure` and `Expired`. A slot that the table does not have is
    /// ignored.
    #[inline]
    pub fn end(&mut self, slot: u32, cost: u32, outcome: Outcome, latency_us: Option<u32>) {
        if (slot as usize) < self.own.len() {
            // Loaded before the counters change: a sweep that misses this end belongs to a later
            // publication.
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

    /// Stores the load that a server reported.
    pub fn report_load(&mut self, slot: u32, load: &ServerLoad) {
        self.shard.report::<F>(slot, load);
        self.wake_if_asleep();
    }

    /// The structure that the last pick used.
    pub fn structure(&self) -> &Structure {
        &self.plan.structure
    }

    /// The endpoint behind a slot, if the structure has one.
    #[inline]
    pub fn endpoint(&self, slot: u32) -> Option<&EndpointRecord> {
        self.plan.endpoint(slot)
    }

    /// The structure's generation. 0 before the first one.
    pub fn generation(&self) -> u32 {
        self.plan.generation
    }

    /// Whether another table has replaced this one, as of the last pick that noticed a new generation.
    /// The agent announces it by a message first.
    pub fn superseded(&self) -> bool {
        self.superseded
    }

    /// The table that it picks from.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Continues without the agent. Weights, groups and closed slots stay as they are. The only load is
    /// then what this process has in flight: the last published counts of other processes are soon
    /// wrong. 50 callers that still use them have ten times the p99 of callers that use their own
    /// counts. For the same reason limits other than 0, and knees, no longer apply.
    ///
    /// To attach again, make a new picker for the new table.
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
        // A header that never changes: no new generation, and the agent never asleep.
        let header = Words::on_heap(self.header.len());
        header.at(GENERATION_AT).store(self.examined, Relaxed);
        self.header = header;
        self.detached = true;
    }

    /// Whether it runs without the agent.
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

    /// Notices a new generation, and returns the current publication. Cells that are read afterwards are
    /// those of this publication or a later one.
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
        // The fast path handles neither excluded slots nor the load of a whole process.
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
            // If the agent is gone, the caller learns that from its socket, not here.
            let _sent = waker.wake();
        }
    }
}
