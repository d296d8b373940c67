//! What publishing costs, for one service of 1,000 endpoints and 200 processes that count.
//!
//! The real publisher makes the passes, over shared memory. Their period is the one that the publishing
//! thread would choose: it follows the service time, and is longer if the passes would otherwise use more
//! than their share of a core. `neighbours` measures a busy service beside other tables.

use std::{
    io,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use pointsman_table::{Outcome, Pick, Picker, Request};

use crate::{
    bench::report::{Goal, Report, Row},
    catalog::{EndpointRef, Locality},
    clock,
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup, period, service::PLAN_EVERY},
    sim::pointsman::endpoint,
};

mod neighbours;

const PROCESSES: usize = 200;
const SLOTS: u32 = 1_000;
/// Requests that a process starts and ends between two passes.
const PICKS: usize = 5;
/// Requests that a process has in flight.
const UNDER_WAY: usize = 50;
/// The latency of each timed request.
const LATENCY_US: u32 = 10_000;
const PASSES: u32 = 1_000;
/// In percent.
const MOST_OF_A_CORE: f64 = 100.0 * period::MOST_FOR_PASSES;

/// Measures a busy service, then an idle one.
pub fn run(smoke: bool) -> io::Result<Report> {
    let passes = if smoke { 20 } else { PASSES };
    let shards = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut bench = PublishBench::new(shards)?;
    let mut report = Report::default();
    let unthrottled = bench.at_wanted_period(passes);
    // The share of a core is valid only after the publishing thread knows the cost of a pass.
    bench.passes(passes / 10, true);
    let busy = bench.passes(passes, true);
    bench.end_all();
    // A few passes read the last ends, so that the next ones find nothing new.
    bench.passes(10, false);
    let idle = bench.passes(passes, false);
    let floor = bare_sum(shards as usize, passes);
    let mut rows = unthrottled.rows(floor);
    rows.extend(busy.rows("busy"));
    rows.extend(idle.rows("idle"));
    report
        .section(
            format!("One pass over {PROCESSES} processes x {SLOTS} slots x {shards} shards"),
            rows,
        )
        .notes
        .push("The floor only sums as many started and ended counters.".into());
    report
        .section("A service with a request every millisecond, beside", neighbours::rows(smoke)?)
        .notes
        .push(
            "The floor of a period is the period of the same service alone. The floor of a share \
             is a thread that waits as often and does nothing."
                .into(),
        );
    Ok(report)
}

struct Process {
    picker: Picker,
    under_way: Vec<Pick>,
}

struct PublishBench {
    publisher: ServicePublisher,
    processes: Vec<Process>,
    /// Virtual time: each pass advances it by a period, whatever the picks took.
    now: Duration,
    period: Duration,
    cost: Duration,
}

/// The costs of passes at the period that the service time asks for.
struct UnthrottledCosts {
    plain: Vec<Duration>,
    planning: Vec<Duration>,
}

/// The costs of a series of passes.
struct PassCosts {
    costs: Vec<Duration>,
    period: Duration,
    elapsed: Duration,
}

impl PublishBench {
    fn new(shards: u32) -> io::Result<Self> {
        let mut publisher = ServicePublisher::new(Setup {
            name: "bench".into(),
            policy: Arc::new(Policy::default()),
            locality: Locality::default(),
            memory: Memory::Shared,
            endpoints: endpoints(),
            virtual_port: None,
            now: Duration::ZERO,
        })?;
        let mut processes = Vec::with_capacity(PROCESSES);
        for seed in 0..PROCESSES as u32 {
            let counters = publisher.new_counters(shards)?;
            counters.close_fd();
            publisher.attach(counters.clone());
            // Every shard gets a thread, so that the sweep reads all shards.
            for shard in 1..shards {
                drop(Picker::<pointsman_table::Atomic>::with_shard(
                    publisher.table(),
                    counters.clone(),
                    seed,
                    None,
                    shard,
                ));
            }
            let mut picker = Picker::with_shard(publisher.table(), counters, seed, None, 0);
            let pick = |_| picker.pick(&Request::default()).expect("every endpoint is open");
            let under_way = (0..UNDER_WAY).map(pick).collect();
            processes.push(Process { picker, under_way });
        }
        let period = publisher.wanted_period();
        Ok(Self { publisher, processes, now: Duration::ZERO, period, cost: Duration::ZERO })
    }

    fn at_wanted_period(&mut self, passes: u32) -> UnthrottledCosts {
        let mut unthrottled = UnthrottledCosts { plain: Vec::new(), planning: Vec::new() };
        let mut planned_at = self.now;
        for pass in 0..passes {
            self.processes.iter_mut().for_each(|process| process.work(pass as usize));
            let plans = self.now - planned_at >= PLAN_EVERY;
            let cost = self.pass();
            if plans {
                planned_at = self.now;
                unthrottled.planning.push(cost);
            } else {
                unthrottled.plain.push(cost);
            }
            self.now += self.publisher.wanted_period();
        }
        unthrottled
    }

    fn pass(&mut self) -> Duration {
        let start = clock::thread_time();
        self.publisher.pass(self.now, self.period);
        clock::thread_time() - start
    }

    fn passes(&mut self, passes: u32, busy: bool) -> PassCosts {
        let from = self.now;
        let mut costs = Vec::with_capacity(passes as usize);
        for pass in 0..passes {
            if busy {
                self.processes.iter_mut().for_each(|process| process.work(pass as usize));
            }
            let cost = self.pass();
            costs.push(cost);
            // The same arithmetic as in the publishing thread.
            self.cost = (self.cost * 7 + cost) / 8;
            let needed = self.cost.div_f64(period::MOST_FOR_PASSES);
            self.period = period::affordable(self.publisher.wanted_period(), needed, self.period);
            self.now += self.period;
        }
        PassCosts { costs, period: self.period, elapsed: self.now - from }
    }

    fn end_all(&mut self) {
        for Process { picker, under_way } in &mut self.processes {
            for pick in under_way.drain(..) {
                picker.end(pick.slot, pick.cost, Outcome::Success, None);
            }
        }
    }
}

impl Process {
    fn work(&mut self, turn: usize) {
        for index in 0..PICKS {
            let oldest = &mut self.under_way[(turn * PICKS + index) % UNDER_WAY];
            let latency = (index == 0).then_some(LATENCY_US);
            self.picker.end(oldest.slot, oldest.cost, Outcome::Success, latency);
            *oldest = self.picker.pick(&Request::default()).expect("every endpoint is open");
        }
    }
}

impl UnthrottledCosts {
    fn rows(&self, floor: f64) -> Vec<Row> {
        let mut rows = vec![Row::value("busy: a pass", median(&self.plain), "us").over(floor)];
        if !self.planning.is_empty() {
            rows.push(Row::value("busy: a pass that plans", median(&self.planning), "us"));
        }
        rows
    }
}

impl PassCosts {
    fn rows(&self, when: &str) -> Vec<Row> {
        let spent: Duration = self.costs.iter().sum();
        let share = 100.0 * spent.as_secs_f64() / self.elapsed.as_secs_f64();
        vec![
            Row::value(format!("{when}: a pass at the period chosen"), median(&self.costs), "us"),
            Row::value(format!("{when}: that period"), micros(self.period) / 1e3, "ms"),
            Row::value(format!("{when}: share of a core"), share, "%")
                .goal(Goal::value_at_most(MOST_OF_A_CORE)),
        ]
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

fn median(durations: &[Duration]) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort();
    micros(sorted[sorted.len() / 2])
}

/// The median microseconds of summing as many counters.
fn bare_sum(shards: usize, rounds: u32) -> f64 {
    let counters = |_| (0..2 * SLOTS).map(AtomicU32::new).collect::<Vec<_>>();
    let all: Vec<Vec<AtomicU32>> = (0..PROCESSES * shards).map(counters).collect();
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let mut sums = vec![0u32; SLOTS as usize];
            let start = clock::thread_time();
            for counters in &all {
                let (started, ended) = counters.split_at(SLOTS as usize);
                for ((sum, started), ended) in sums.iter_mut().zip(started).zip(ended) {
                    let ended = ended.load(Ordering::Relaxed);
                    let in_flight = started.load(Ordering::Relaxed).wrapping_sub(ended);
                    *sum = sum.wrapping_add(in_flight);
                }
            }
            std::hint::black_box(&sums);
            (clock::thread_time() - start).as_nanos() as f64 / 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn endpoints() -> Vec<EndpointRef> {
    let address = |index: u32| ([10, 0, (index >> 8) as u8, index as u8], 80).into();
    let list: Arc<[_]> = (0..SLOTS).map(|index| endpoint(address(index), 1)).collect();
    EndpointRef::all(&list).collect()
}
