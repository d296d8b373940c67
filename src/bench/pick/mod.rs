//! What a pick and its end cost a caller.
//!
//! - `service`: the service that both use
//! - `floor`: the same loads and counter updates without the logic. It alternates with ours, so that
//!   other load on the machine affects both
//! - `valgrind`: instructions and allocations, which are independent of noise

use std::{
    hint::black_box,
    io,
    sync::{Arc, Barrier, Mutex},
    time::Duration,
};

use pointsman_table::{Atomic, Form, Outcome, Pick, Picker, Request, SingleWriter};

use self::{
    floor::{Add, Floor, Memory, PlainAdd, SharedAdd},
    service::{ENDPOINTS, Service, TIMED_EVERY, UNDER_WAY},
};
use super::report::{Goal, Report, Row};
use crate::{clock, sim::estimate::Estimate};

mod floor;
mod service;
mod valgrind;

/// Picks and ends between two readings of the clock: about a millisecond.
const BATCH: usize = 20_000;
const BATCHES: usize = 500;

const OVER_FLOOR: f64 = 1.5;

/// Arguments of `pointsman bench pick`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only this many picks among this many endpoints; valgrind counts this process.
    #[arg(long, hide = true, num_args = 2, value_names = ["ENDPOINTS", "PICKS"])]
    bare: Option<Vec<u32>>,
    /// Run the floor instead of picks.
    #[arg(long, hide = true, requires = "bare")]
    floor: bool,
}

/// Measures, or runs the picks that valgrind counts.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let mut report = Report::default();
    if let Some([endpoints, picks]) = args.bare.as_deref() {
        bare(*endpoints, *picks, args.floor);
        return Ok(report);
    }
    let batches = if smoke { 3 } else { BATCHES };
    let mut rows = Vec::new();
    for endpoints in ENDPOINTS {
        for threads in [1, 2] {
            let name = format!("pick + done, {endpoints} endpoints, {}", threads_text(threads));
            rows.push(
                measure::<Atomic, SharedAdd>(endpoints, threads, batches)
                    .row(name)
                    .goal(Goal::ratio_at_most(OVER_FLOOR)),
            );
        }
        let name = format!("pick + done, {endpoints} endpoints, single writer");
        rows.push(measure::<SingleWriter, PlainAdd>(endpoints, 1, batches).row(name));
    }
    report.section("Time of a pick and its end, over the same loads and counts alone", rows);
    valgrind::section(smoke, &mut report)?;
    Ok(report)
}

fn threads_text(threads: usize) -> &'static str {
    if threads == 1 { "1 thread" } else { "2 threads" }
}

/// A picker with its requests in flight.
struct BusyPicker<F: Form> {
    picker: Picker<F>,
    under_way: [Pick; UNDER_WAY],
}

impl<F: Form> BusyPicker<F> {
    fn new(mut picker: Picker<F>) -> Self {
        let under_way = std::array::from_fn(|_| {
            picker.pick(&Request::default()).expect("every endpoint is open")
        });
        Self { picker, under_way }
    }

    fn turn(&mut self, picks: usize) {
        let request = Request::default();
        for index in 0..picks {
            let oldest = &mut self.under_way[index % UNDER_WAY];
            let latency = index.is_multiple_of(TIMED_EVERY).then_some(1_234);
            self.picker.end(oldest.slot, oldest.cost, Outcome::Success, latency);
            *oldest = self.picker.pick(black_box(&request)).expect("every endpoint is open");
        }
    }
}

fn bare(endpoints: u32, picks: u32, floor: bool) {
    let service = Service::new(endpoints, 1);
    if floor {
        Floor::<SharedAdd>::new(&Arc::new(Memory::new(&service)), 77).turn(picks as usize);
    } else {
        BusyPicker::<Atomic>::new(service.picker(7)).turn(picks as usize);
    }
}

/// The nanoseconds of a pick with its end: ours and the floor's, a pair for two consecutive batches.
struct Measured {
    pairs: Vec<(f64, f64)>,
}

impl Measured {
    /// Uses medians, because a batch that lost its processor measures neither. The ratio is the median of
    /// the ratios of consecutive batches, which ran at the same frequency beside the same load.
    fn row(&self, name: String) -> Row {
        let ours = median(self.pairs.iter().map(|pair| pair.0));
        let floor = median(self.pairs.iter().map(|pair| pair.1));
        let ratios = || self.pairs.iter().map(|(ours, floor)| ours / floor);
        let mean = median(ratios());
        // The error of a median, from the median distance to it. For a normal distribution 1.48 of that
        // distance is the standard deviation.
        let distance = median(ratios().map(|ratio| (ratio - mean).abs()));
        let error = 1.48 * 1.25 * distance / (self.pairs.len() as f64).sqrt();
        Row::value(name, ours, "ns").over(floor).paired(Estimate { mean, error })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure<F: Form, A: Add>(endpoints: u32, threads: usize, batches: usize) -> Measured {
    let service = Service::new(endpoints, threads as u32);
    let pickers: Vec<Picker<F>> = (0..threads as u32).map(|t| service.picker(7 + t)).collect();
    let floor_memory = Arc::new(Memory::new(&service));
    let floors: Vec<Floor<A>> =
        (0..threads as u32).map(|t| Floor::new(&floor_memory, 77 + t)).collect();
    let writer = Mutex::new(service.writer);
    let together = Barrier::new(threads);
    let begin = || {
        // One thread publishes, so that the pickers' own counts restart regularly.
        if together.wait().is_leader() {
            writer.lock().expect("nobody panicked").publish();
        }
        together.wait();
    };
    let pairs = std::thread::scope(|scope| {
        let running: Vec<_> = pickers
            .into_iter()
            .zip(floors)
            .map(|(picker, floor)| scope.spawn(|| alternate(picker, floor, batches, &begin)))
            .collect();
        running.into_iter().flat_map(|thread| thread.join().expect("nobody panicked")).collect()
    });
    Measured { pairs }
}

/// Runs ours and the floor's in turn. `begin` makes all threads begin a batch at the same time.
fn alternate<F: Form, A: Add>(
    picker: Picker<F>,
    mut floor: Floor<A>,
    batches: usize,
    begin: &impl Fn(),
) -> Vec<(f64, f64)> {
    let per_pick = |took: Duration| took.as_nanos() as f64 / BATCH as f64;
    let mut ours = BusyPicker::new(picker);
    let pair = |_| {
        begin();
        let start = clock::now();
        ours.turn(BATCH);
        let ours_took = clock::now() - start;
        begin();
        let start = clock::now();
        floor.turn(BATCH);
        (per_pick(ours_took), per_pick(clock::now() - start))
    };
    (0..batches).map(pair).collect()
}
