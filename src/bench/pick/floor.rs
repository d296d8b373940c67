//! The floor of a pick: the loads and counter updates that every pick of this kind needs, without a
//! decision.

use std::{
    hint::{black_box, select_unpredictable},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use pointsman_table::{Random, Row};

use super::service::{Service, TIMED_EVERY, UNDER_WAY};

// These words have cache lines of their own in the real header. Here nobody writes them.
const GENERATION: usize = 16;
const ASLEEP: usize = 18;
const PUBLICATION: usize = 32;

// Counters are in pages, each with a few runs of consecutive slots.
const RUN: usize = 504;
const PAGE: usize = 1024;

/// How often a pick draws again.
const REDRAWS: usize = 4;

fn counter(slot: usize) -> usize {
    slot + slot / RUN * (PAGE - RUN)
}

/// How to add to a counter.
pub(super) trait Add: Send {
    fn add(counter: &AtomicU32, amount: u32, order: Ordering);
}

/// For a counter that several threads share.
pub(super) enum SharedAdd {}

/// For a counter of one thread.
pub(super) enum PlainAdd {}

impl Add for SharedAdd {
    #[inline(always)]
    fn add(counter: &AtomicU32, amount: u32, order: Ordering) {
        counter.fetch_add(amount, order);
    }
}

impl Add for PlainAdd {
    #[inline(always)]
    fn add(counter: &AtomicU32, amount: u32, order: Ordering) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), order);
    }
}

/// The memory that all threads read, with the size and the layout of a real table.
pub(super) struct Memory {
    header: [AtomicU32; 48],
    rows: Vec<Row>,
    cells: Vec<[AtomicU32; 8]>,
}

impl Memory {
    pub(super) fn new(service: &Service) -> Self {
        let picker = service.picker::<pointsman_table::Atomic>(1);
        let rows = picker.structure().rows.clone();
        let cell = |slot| {
            let cell = service.writer.table().cell(slot).expect("every slot has a cell");
            let mut words = std::array::from_fn(|_| AtomicU32::new(0));
            words[0] = AtomicU32::new(cell.base.to_bits());
            words
        };
        let cells = (0..rows.len() as u32).map(cell).collect();
        Self { header: std::array::from_fn(|_| AtomicU32::new(0)), rows, cells }
    }
}

/// One thread of the floor. It has counters of its own, as each picker has its shard.
pub(super) struct Floor<A: Add> {
    memory: Arc<Memory>,
    random: Random,
    activity: AtomicU32,
    /// The publication and the own count of each slot, as a picker keeps them.
    own: Vec<[u32; 2]>,
    /// Pages of starts and ends. `judged` has those of timed requests and latencies.
    flow: Vec<AtomicU32>,
    judged: Vec<AtomicU32>,
    histogram: Vec<AtomicU32>,
    under_way: [u32; UNDER_WAY],
    add: PhantomData<A>,
}

impl<A: Add> Floor<A> {
    pub(super) fn new(memory: &Arc<Memory>, seed: u32) -> Self {
        let counters = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        let endpoints = memory.rows.len();
        let pages = endpoints.div_ceil(RUN) * PAGE;
        Self {
            memory: memory.clone(),
            random: Random::new(seed),
            activity: AtomicU32::new(0),
            own: vec![[0; 2]; endpoints],
            flow: counters(pages),
            judged: counters(pages),
            histogram: counters(64),
            under_way: [0; UNDER_WAY],
            add: PhantomData,
        }
    }

    pub(super) fn turn(&mut self, picks: usize) {
        let memory = self.memory.clone();
        let Memory { header, rows, cells } = &*memory;
        for index in 0..picks {
            let end = self.under_way[index % UNDER_WAY] as usize;
            let end_at = counter(end);
            let publication = header[PUBLICATION].load(Ordering::Acquire);
            if index.is_multiple_of(TIMED_EVERY) {
                A::add(&self.judged[end_at], 1, Ordering::Relaxed);
                A::add(&self.judged[end_at + RUN], 1_234, Ordering::Relaxed);
                A::add(&self.histogram[20], 1, Ordering::Relaxed);
            }
            A::add(&self.flow[end_at + RUN], 1, Ordering::Release);
            self.activity.store(index as u32, Ordering::Release);
            self.own[end] = [publication, self.own[end][1].wrapping_sub(1)];

            let generation = header[GENERATION].load(Ordering::Acquire);
            let publication = header[PUBLICATION].load(Ordering::Acquire);
            let (one, other) = self.draw_two(rows);
            // Waits for all loaded words; their values decide nothing.
            let loaded = |slot: usize| {
                let word = |index: usize| cells[slot][index].load(Ordering::Relaxed);
                let own = self.own[slot];
                word(0) ^ word(1) ^ word(2) ^ word(5) ^ own[0] ^ own[1]
            };
            let slot = select_unpredictable(loaded(one) <= loaded(other), one, other);
            A::add(&self.flow[counter(slot)], 1, Ordering::Relaxed);
            self.activity.store(index as u32, Ordering::Release);
            self.own[slot] = [publication, self.own[slot][1].wrapping_add(1)];
            black_box(generation ^ header[ASLEEP].load(Ordering::Relaxed));
            self.under_way[index % UNDER_WAY] = slot as u32;
        }
    }

    /// Draws two slots. They differ unless a few more draws all give the first one again. The choice does
    /// not depend on values that were loaded before.
    #[inline(always)]
    fn draw_two(&mut self, rows: &[Row]) -> (usize, usize) {
        let (one, mut other) = (self.draw(rows), self.draw(rows));
        for _ in 0..REDRAWS {
            if other != one {
                break;
            }
            other = self.draw(rows);
        }
        (one, other)
    }

    /// A weighted draw, which selects the cells to load.
    #[inline(always)]
    fn draw(&mut self, rows: &[Row]) -> usize {
        let product = u64::from(self.random.draw()) * rows.len() as u64;
        let row = &rows[(product >> 32) as usize];
        select_unpredictable((product as u32) < row.probability, row.slot, row.alias) as usize
    }
}
