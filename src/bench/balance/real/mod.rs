//! The comparison of `even` with 50 real processes on this machine. It shows whether the simulator is
//! right about the direction and the size of the effect.
//!
//! Each caller is a process that maps the table and counts in shared memory. The servers sleep for a
//! request's work, so that two cores can serve hundreds of concurrent requests.
//!
//! - `servers`: endpoints with workers and a queue, as threads of this process
//! - `balancer`: the table, and the thread that publishes it
//! - `caller`: a calling process; `caller_process`: the parent's handle of one
//! - `message`: the messages between them

use std::{io, net::SocketAddr, thread, time::Duration};

use self::{
    balancer::{Balancer, Chooser},
    caller_process::CallerProcess,
    message::{CallerResult, CallerSetup},
    servers::Servers,
};
use super::{
    even::{self, Callers, ENDPOINTS, LOAD, SLOWER, Shape, WORKERS},
    jobs::{Effort, Job, p99, paired, run_jobs},
};
use crate::{
    bench::report::{Goal, Report, Row},
    sim::{arm::Arm, outcome::quantile, pointsman::PointsmanSetup},
};

mod balancer;
mod caller;
mod caller_process;
mod message;
mod servers;

const PROCESSES: usize = 50;

/// Runs a calling process, with the setup from its parent.
pub(super) fn call(setup: &str) -> io::Result<()> {
    // Ends this process when its parent ends for any reason.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    caller::run(&serde_json::from_str(setup)?)
}

/// One run of one chooser.
#[derive(Clone, Copy, Debug)]
struct Trial {
    chooser: Chooser,
    shape: Shape,
    service: Duration,
    warm_up: Duration,
    measured: Duration,
}

/// The result of a trial.
struct Figures {
    p99_ms: f64,
    requests: usize,
    unanswered: u32,
}

/// Random choice does not run with a slow endpoint: the queue there would only grow.
const TRIALS: [(Chooser, Shape); 5] = [
    (Chooser::Table, Shape::Equal),
    (Chooser::OwnCounts, Shape::Equal),
    (Chooser::Random, Shape::Equal),
    (Chooser::Table, Shape::OneSlow),
    (Chooser::OwnCounts, Shape::OneSlow),
];

/// Adds what was found to the report.
pub(super) fn run(effort: &Effort, smoke: bool, report: &mut Report) -> io::Result<()> {
    // At 100 ms there are so few requests that all trials can run at the same time.
    for (service_ms, seconds, side_by_side) in [(10, 10, false), (100, 40, true)] {
        let seconds = if smoke { 1 } else { seconds };
        let service = Duration::from_millis(service_ms);
        let trials = TRIALS.map(|(chooser, shape)| Trial {
            chooser,
            shape,
            service,
            warm_up: service * if smoke { 2 } else { 50 },
            measured: Duration::from_secs(seconds),
        });
        let results = if side_by_side || smoke {
            thread::scope(|scope| {
                let running: Vec<_> =
                    trials.iter().map(|trial| scope.spawn(|| trial.run())).collect();
                running
                    .into_iter()
                    .map(|trial| trial.join().expect("a trial does not panic"))
                    .collect::<io::Result<Vec<Figures>>>()
            })
        } else {
            trials.iter().map(Trial::run).collect()
        }?;
        let simulated = simulated(service_ms, effort);
        let [table, own, random, slow_table, slow_own] = &results[..] else {
            unreachable!("a result for each trial")
        };
        let row = |shape: Shape, what: &str, ours: &Figures, floor: &Figures| {
            Row::value(format!("real, {service_ms} ms, {shape}: p99{what}"), ours.p99_ms, "ms")
                .over(floor.p99_ms)
        };
        let rows = vec![
            row(Shape::Equal, " / own counts only", table, own).goal(Goal::ratio_below(1.0)),
            simulated_row(service_ms, Shape::Equal, simulated[0]),
            row(Shape::Equal, " of random / own counts only", random, own),
            row(Shape::OneSlow, " / own counts only", slow_table, slow_own)
                .goal(Goal::ratio_at_most(even::OF_OWN_COUNTS_WITH_SLOW)),
            simulated_row(service_ms, Shape::OneSlow, simulated[1]),
        ];
        let requests: usize = results.iter().map(|result| result.requests).sum();
        let unanswered: u32 = results.iter().map(|result| result.unanswered).sum();
        report
            .section(
                format!("Real: {PROCESSES} processes, {ENDPOINTS} endpoints x {WORKERS} workers, {service_ms} ms"),
                rows,
            )
            .notes
            .push(format!("{requests} requests, {unanswered} lost."));
    }
    Ok(())
}

fn simulated_row(service_ms: u64, shape: Shape, ratio: f64) -> Row {
    Row::value(format!("simulated, {service_ms} ms, {shape}: the same ratio"), ratio, "")
}

/// The simulator's ratios of the table to own counts: with equal endpoints, and with a slow one.
fn simulated(service_ms: u64, effort: &Effort) -> [f64; 2] {
    let jobs: Vec<Job> = [Shape::Equal, Shape::OneSlow]
        .into_iter()
        .flat_map(|shape| {
            let scenario = even::scenario(service_ms, shape, Callers::Fifty, effort);
            [Arm::Pointsman(PointsmanSetup::default()), Arm::OwnCounts]
                .map(|arm| Job { scenario: scenario.clone(), arm })
        })
        .collect();
    let outcomes = run_jobs(&jobs, effort.seeds(2));
    [0, 2].map(|at| paired(&outcomes[at], &outcomes[at + 1], p99).mean)
}

impl Trial {
    fn run(&self) -> io::Result<Figures> {
        let mut slower = vec![1; ENDPOINTS];
        if self.shape == Shape::OneSlow {
            slower[0] = SLOWER as u32;
        }
        let a_second = WORKERS as f64 / self.service.as_secs_f64();
        let capacity: f64 = slower.iter().map(|slower| a_second / f64::from(*slower)).sum();
        let rate = LOAD * capacity / PROCESSES as f64;
        let servers = Servers::start(&slower, WORKERS)?;
        let results = self.callers(&servers.addresses, rate);
        servers.stop()?;
        let results = results?;
        let mut latencies: Vec<u64> = results
            .iter()
            .flat_map(|result| &result.latencies_us)
            .map(|us| u64::from(*us))
            .collect();
        Ok(Figures {
            p99_ms: quantile(&mut latencies, 0.99) as f64 / 1e3,
            requests: latencies.len(),
            unanswered: results.iter().map(|result| result.unanswered).sum(),
        })
    }

    /// Runs all calling processes from start to end.
    fn callers(&self, addresses: &[SocketAddr], rate: f64) -> io::Result<Vec<CallerResult>> {
        let mut balancer = Balancer::new(self.chooser, addresses)?;
        let table = balancer.table_fd()?;
        let mut callers = Vec::with_capacity(PROCESSES);
        for seed in 1..=PROCESSES as u64 {
            let counters = balancer.counters()?;
            let counters_fd = counters.fd()?;
            let setup = CallerSetup {
                table: caller_process::path(&table),
                counters: caller_process::path(&counters_fd),
                rate,
                work: self.service,
                warm_up: self.warm_up,
                measured: self.measured,
                seed,
            };
            callers.push(CallerProcess::start(&setup, counters_fd)?);
        }
        let publisher = balancer.start();
        callers.iter_mut().try_for_each(CallerProcess::begin)?;
        let results = callers.into_iter().map(CallerProcess::result).collect();
        publisher.stop();
        results
    }
}
