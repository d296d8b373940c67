//! Measures the agent's sweep: `cargo run --release -p pointsman-table --example sweep_bench`.
// A bench has to read the clock.
#![allow(clippy::disallowed_methods)]

use std::{hint::black_box, time::Instant};

use pointsman_table::{Capacity, Counters, Differences, Outcome, Picker, Sweep, TableWriter};

const ROUNDS: usize = 41;

/// Measures a sweep of this many processes: once after all of their threads picked (one thread per
/// shard), and once when nothing has changed.
fn bench(processes: usize, slots: u32, shards: u32, costly: bool) {
    let capacity = Capacity { groups: 1, rows: 1, ring: 0, slots, endpoints: 1, text: 0 };
    let writer = TableWriter::on_heap(capacity);
    let mut sweeps = vec![];
    let mut threads: Vec<Picker> = vec![];
    for _ in 0..processes {
        let counters = Counters::create(slots, shards, "bench").expect("a memfd");
        for shard in 0..shards {
            let counters = counters.clone();
            threads.push(Picker::with_shard(writer.table(), counters, 1, None, shard));
        }
        sweeps.push(Sweep::new(counters, u32::MAX));
    }
    for thread in &mut threads {
        for slot in 0..slots {
            thread.start(slot, if costly { 2 } else { 1 });
            thread.start(slot, 1);
            thread.end(slot, 1, Outcome::Failure, Some(1));
        }
    }
    let mut sums = vec![0; slots as usize];
    let mut ended = Differences::new(slots);
    let (mut busy, mut idle, mut full) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        for thread in &mut threads {
            thread.start(0, 1);
            thread.end(0, 1, Outcome::Success, None);
        }
        let mut timed = |pass: &mut dyn FnMut(&mut Sweep), times: &mut Vec<f64>| {
            let start = Instant::now();
            sweeps.iter_mut().for_each(pass);
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        };
        let mut in_flight = |sweep: &mut Sweep| {
            sweep.in_flight(&mut sums).expect("whole");
        };
        timed(&mut in_flight, &mut busy);
        timed(&mut in_flight, &mut idle);
        timed(
            &mut |sweep| {
                sweep.differences(100_000, &mut ended).expect("whole");
            },
            &mut full,
        );
        sums.fill(0);
        black_box((&sums, &ended));
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        (times[0], times[ROUNDS / 2])
    };
    let [busy, idle, full] = [busy, idle, full].map(median);
    println!(
        "{processes:4} processes x {slots:5} slots x {shards} shards{}: in flight, all busy {:6.1} / \
         {:6.1} us; nothing moved {:6.1} / {:6.1} us; differences {:6.1} / {:6.1} us",
        if costly { ", costly" } else { "" },
        busy.0,
        busy.1,
        idle.0,
        idle.1,
        full.0,
        full.1
    );
}

fn main() {
    println!("(minimum / median)");
    for shards in [1, 2, 8] {
        bench(200, 1000, shards, false);
    }
    bench(200, 1000, 1, true);
    bench(50, 100, 2, false);
    bench(1, 1000, 1, false);
    bench(1, 1000, 8, false);
    bench(20, 10_000, 8, false);
}
