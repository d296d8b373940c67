//! Measures a pick and its end against a bare loop with the same random loads and the same counter
//! updates: `cargo run --release -p pointsman-table --example pick_bench`.
//!
//! With arguments `ENDPOINTS PICKS FORM` (`atomic` or `single`) it only picks, to be counted by
//! `valgrind --tool=callgrind`: two runs of different length, and the difference by the number of
//! picks between them.
// A bench has to read the clock.
#![allow(clippy::disallowed_methods)]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Instant,
};

use pointsman_table::{
    Atomic, Capacity, Cell, Counters, Form, Group, Outcome, Pick, Picker, Random, Request, Row,
    SingleWriter, Structure, TableWriter, alias_rows,
};

const BATCH: u32 = 10_000;
const BATCHES: u32 = 400;
/// Requests in flight at a time.
const OPEN: usize = 16;
const LATENCY_US: u32 = 1_234;

fn writer(endpoints: u32) -> (TableWriter, Vec<Row>) {
    let capacity =
        Capacity { groups: 4, rows: endpoints, ring: 0, slots: endpoints, endpoints: 0, text: 0 };
    let mut writer = TableWriter::create(capacity, "bench").expect("a memfd");
    let mut random = Random::new(9);
    for slot in 0..endpoints {
        let base = (random.draw() % 8) as f32;
        writer.write_cell(slot, &Cell { base, slope: 1.0, ..Cell::default() });
    }
    let mut weights: Vec<_> =
        (0..endpoints).map(|slot| (slot, 1.0 + f64::from(slot % 7))).collect();
    for i in (1..weights.len()).rev() {
        weights.swap(i, random.draw() as usize % (i + 1));
    }
    let rows = alias_rows(&weights);
    writer
        .write_structure(&Structure {
            groups: vec![Group { rows: endpoints, ..Group::default() }],
            rows: rows.clone(),
            ..Structure::default()
        })
        .expect("it fits");
    writer.publish();
    (writer, rows)
}

fn pick_and_end<F: Form>(picker: &mut Picker<F>, open: &mut [Pick; OPEN], picks: u32) {
    let request = Request::default();
    for i in 0..picks {
        let oldest = &mut open[i as usize % OPEN];
        let latency = (i % 8 == 0).then_some(LATENCY_US);
        picker.end(oldest.slot, oldest.cost, Outcome::Success, latency);
        *oldest = picker.pick(black_box(&request)).expect("an open slot");
    }
}

/// The same loads and updates in memory of the same layout. Its only decision is for the lower of two
/// bases.
struct Floor {
    header: Vec<AtomicU32>,
    cells: Vec<AtomicU32>,
    own: Vec<[u32; 2]>,
    /// Two pages, like those of the counters: flow, and times.
    flow: Vec<AtomicU32>,
    times: Vec<AtomicU32>,
    activity: AtomicU32,
    rows: Vec<Row>,
    random: Random,
    shared: bool,
}

impl Floor {
    fn new(rows: Vec<Row>, shared: bool) -> Self {
        let words = |count: usize| (0..count).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
        let pages = rows.len().div_ceil(504);
        Self {
            header: words(48),
            cells: words(rows.len() * 8),
            own: vec![[0; 2]; rows.len()],
            flow: words(pages * 1024),
            times: words(pages * 1024),
            activity: AtomicU32::new(0),
            rows,
            random: Random::new(77),
            shared,
        }
    }

    #[inline(always)]
    fn add(&self, word: &AtomicU32, amount: u32) {
        if self.shared {
            word.fetch_add(amount, Release);
        } else {
            word.store(word.load(Relaxed).wrapping_add(amount), Release);
        }
    }

    fn run(&mut self, open: &mut [u32; OPEN], picks: u32) {
        let place = |slot: u32| 16 + slot as usize + slot as usize / 504 * 520;
        for i in 0..picks {
            let oldest = &mut open[i as usize % OPEN];
            let at = place(*oldest);
            // SAFETY: slots are below the number of rows, for which there are pages and cells.
            unsafe {
                if i % 8 == 0 {
                    self.add(self.times.get_unchecked(at), 1);
                    self.add(self.times.get_unchecked(at + 504), LATENCY_US);
                    self.add(self.header.get_unchecked(0), 1);
                }
                self.add(self.flow.get_unchecked(at + 504), 1);
                self.activity.store(i, Release);
                let own = self.own.get_unchecked_mut(*oldest as usize);
                *own = [own[0].wrapping_add(1), own[1].wrapping_sub(1)];

                let header = |word: usize| self.header.get_unchecked(word).load(Acquire);
                black_box(header(16) ^ header(33) ^ header(18));
                let (one, coin_of_one) = self.row();
                let (other, coin_of_other) = self.row();
                let slot =
                    |row: Row, coin| if coin < row.probability { row.slot } else { row.alias };
                let one = slot(one, coin_of_one);
                let other = slot(other, coin_of_other);
                let cell = |slot: u32| {
                    let word =
                        |at: usize| self.cells.get_unchecked(slot as usize * 8 + at).load(Relaxed);
                    let own = self.own.get_unchecked(slot as usize);
                    word(0) ^ word(1) ^ word(2) ^ word(5) ^ own[0] ^ own[1]
                };
                *oldest = if cell(other) < cell(one) { other } else { one };

                self.add(self.flow.get_unchecked(place(*oldest)), 1);
                self.activity.store(i, Release);
                let own = self.own.get_unchecked_mut(*oldest as usize);
                *own = [own[0].wrapping_add(1), own[1].wrapping_add(1)];
            }
        }
    }

    #[inline(always)]
    fn row(&mut self) -> (Row, u32) {
        let product = u64::from(self.random.draw()) * self.rows.len() as u64;
        // SAFETY: the high half of a product with the length is below it.
        (unsafe { *self.rows.get_unchecked((product >> 32) as usize) }, product as u32)
    }
}

fn bench<F: Form>(name: &str, endpoints: u32, shared: bool) {
    let (mut writer, rows) = writer(endpoints);
    let counters = Counters::create(endpoints, 1, "bench").expect("a memfd");
    let mut picker: Picker<F> = Picker::new(writer.table(), counters, 7, None);
    let mut floor = Floor::new(rows, shared);
    let mut open = [Pick { slot: 0, cost: 1 }; OPEN];
    let mut open_floor = [0; OPEN];
    let (mut ours, mut bare) = (vec![], vec![]);
    for _ in 0..BATCHES {
        writer.publish();
        let start = Instant::now();
        pick_and_end(&mut picker, &mut open, BATCH);
        ours.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
        let start = Instant::now();
        floor.run(&mut open_floor, BATCH);
        bare.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    let [ours, bare] = [ours, bare].map(|mut times| {
        times.sort_by(f64::total_cmp);
        (times[0], times[times.len() / 2])
    });
    println!(
        "{name:7} {endpoints:6} endpoints: pick and end {:5.1} / {:5.1} ns, bare {:5.1} / {:5.1} ns, \
         ratio {:.2} / {:.2} (minimum / median)",
        ours.0,
        ours.1,
        bare.0,
        bare.1,
        ours.0 / bare.0,
        ours.1 / bare.1
    );
}

fn count<F: Form>(endpoints: u32, picks: u32) {
    let (mut writer, _) = writer(endpoints);
    let counters = Counters::on_heap(endpoints, 1);
    let mut picker: Picker<F> = Picker::new(writer.table(), Arc::clone(&counters), 7, None);
    let mut open = [Pick { slot: 0, cost: 1 }; OPEN];
    for _ in 0..picks / BATCH {
        writer.publish();
        pick_and_end(&mut picker, &mut open, BATCH);
    }
    black_box(open);
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [endpoints, picks, form] = &arguments[..] {
        let numbers = [endpoints, picks].map(|text| text.parse().expect("a number"));
        return match form.as_str() {
            "atomic" => count::<Atomic>(numbers[0], numbers[1]),
            "single" => count::<SingleWriter>(numbers[0], numbers[1]),
            _ => panic!("atomic or single"),
        };
    }
    for endpoints in [3, 100, 10_000] {
        bench::<Atomic>("atomic", endpoints, true);
        bench::<SingleWriter>("single", endpoints, false);
    }
}
