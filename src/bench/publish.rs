//! What publishing costs: one service of 1,000 endpoints, in which 200 processes count.
//!
//! The passes are those of the shipped publisher, over shared memory, at the period that the
//! publishing thread would choose: it follows the service time, and stretches as far as its share
//! of a core needs.

use std::{
    io,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use pointsman_table::{Outcome, Pick, Picker, Request};

use super::{
    beside,
    report::{Goal, Report, Row},
};
use crate::{
    catalog::{EndpointRef, Locality},
    clock,
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup, period, service::PLAN_EVERY},
    sim::shipped::endpoint,
};

const PROCESSES: usize = 200;
const SLOTS: u32 = 1_000;
/// Requests that a process starts and ends between two passes.
const PICKS: usize = 5;
/// Requests that a process has under way.
const UNDER_WAY: usize = 50;
/// What each timed request is said to have taken.
const LATENCY_US: u32 = 10_000;
const PASSES: u32 = 1_000;
/// In percent.
const MOST_OF_A_CORE: f64 = 100.0 * period::MOST_FOR_PASSES;

/// Runs it busy, then idle.
pub fn run(smoke: bool) -> io::Result<Report> {
    let passes = if smoke { 20 } else { PASSES };
    let shards = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut stage = Stage::new(shards)?;
    let mut report = Report::default();
    let eager = stage.at_wanted_period(passes);
    // The publishing thread learns what a pass costs before its share of a core means anything.
    stage.passes(passes / 10, true);
    let busy = stage.passes(passes, true);
    stage.end_all();
    // What ended last has to be seen before nothing is left to see.
    stage.passes(10, false);
    let idle = stage.passes(passes, false);
    let floor = bare_sum(shards as usize, passes);
    let mut rows = eager.rows(floor);
    rows.extend(busy.rows("busy"));
    rows.extend(idle.rows("idle"));
    report
        .section(
            format!("One pass over {PROCESSES} processes x {SLOTS} slots x {shards} shards"),
            rows,
        )
        .notes
        .push("The floor is the sum of as many started and ended counters, and no more.".into());
    report
        .section("A service with a request every millisecond, beside", beside::rows(smoke)?)
        .notes
        .push(
            "The floor of a period is that of the same service alone; that of a share is a thread \
             that waits as often and does nothing."
                .into(),
        );
    Ok(report)
}

struct Process {
    picker: Picker,
    under_way: Vec<Pick>,
}

struct Stage {
    publisher: ServicePublisher,
    processes: Vec<Process>,
    /// Virtual: the publisher is told that a period went by, whatever the picks took.
    now: Duration,
    period: Duration,
    cost: Duration,
}

/// What passes cost that come as often as the service time asks for.
struct Eager {
    plain: Vec<Duration>,
    planning: Vec<Duration>,
}

/// What so many passes took.
struct Passed {
    costs: Vec<Duration>,
    period: Duration,
    elapsed: Duration,
}

impl Stage {
    fn new(shards: u32) -> io::Result<Self> {
        let mut publisher = ServicePublisher::new(Setup {
            name: "bench".into(),
            policy: Arc::new(Policy::default()),
            here: Locality::default(),
            memory: Memory::Shared,
            endpoints: endpoints(),
            now: Duration::ZERO,
        })?;
        let mut processes = Vec::with_capacity(PROCESSES);
        for seed in 0..PROCESSES as u32 {
            let counters = publisher.new_counters(shards)?;
            counters.close_fd();
            publisher.attach(counters.clone());
            // A thread in every shard: all of them are swept.
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

    fn at_wanted_period(&mut self, passes: u32) -> Eager {
        let mut eager = Eager { plain: Vec::new(), planning: Vec::new() };
        let mut planned_at = self.now;
        for pass in 0..passes {
            self.processes.iter_mut().for_each(|process| process.work(pass as usize));
            let plans = self.now - planned_at >= PLAN_EVERY;
            let cost = self.pass();
            if plans {
                planned_at = self.now;
                eager.planning.push(cost);
            } else {
                eager.plain.push(cost);
            }
            self.now += self.publisher.wanted_period();
        }
        eager
    }

    fn pass(&mut self) -> Duration {
        let start = clock::thread_time();
        self.publisher.pass(self.now, self.period);
        clock::thread_time() - start
    }

    fn passes(&mut self, passes: u32, busy: bool) -> Passed {
        let from = self.now;
        let mut costs = Vec::with_capacity(passes as usize);
        for pass in 0..passes {
            if busy {
                self.processes.iter_mut().for_each(|process| process.work(pass as usize));
            }
            let cost = self.pass();
            costs.push(cost);
            // As the publishing thread does it.
            self.cost = (self.cost * 7 + cost) / 8;
            let needed = self.cost.div_f64(period::MOST_FOR_PASSES);
            self.period = period::affordable(self.publisher.wanted_period(), needed, self.period);
            self.now += self.period;
        }
        Passed { costs, period: self.period, elapsed: self.now - from }
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

impl Eager {
    fn rows(&self, floor: f64) -> Vec<Row> {
        let mut rows = vec![Row::value("busy: a pass", median(&self.plain), "us").over(floor)];
        if !self.planning.is_empty() {
            rows.push(Row::value("busy: a pass that plans", median(&self.planning), "us"));
        }
        rows
    }
}

impl Passed {
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

/// Median microseconds of adding up as many counters.
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
