//! The same comparison with 50 real processes on this machine: whether direction and size are what
//! the simulator says.
//!
//! The callers are processes of their own, which map the table and count in shared memory; the
//! servers sleep for a request's work, so that two cores carry hundreds of requests at a time.
//!
//! - `servers`: endpoints with workers and a queue, as threads of this process
//! - `caller`: a calling process
//! - `message`: what they say to each other

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    process::{self, Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pointsman_table::{Counters, TableWriter};

use self::{
    message::{Order, Seen},
    servers::Servers,
};
use super::{
    balance::{
        Effort, Job,
        even::{self, Callers, ENDPOINTS, LOAD, SLOWER, Shape, WORKERS},
        paired, run_jobs,
    },
    report::{Goal, Report, Row},
};
use crate::{
    catalog::{EndpointRef, Locality},
    clock,
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup},
    sim::{
        arm::{Arm, Pointsman},
        outcome::quantile,
        own_counts::unpublished,
        shipped::endpoint,
    },
};

mod caller;
mod message;
mod servers;

const PROCESSES: usize = 50;

/// Does what the parent's order says; the whole of a calling process.
pub fn call(order: &str) -> io::Result<()> {
    // It ends when its parent does, however that happens.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    caller::run(&serde_json::from_str(order)?)
}

/// Who chooses, among those that real processes can be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chooser {
    Table,
    OwnCounts,
    Random,
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

/// What a trial came to.
struct Figures {
    p99_ms: f64,
    requests: usize,
    lost: u32,
}

/// Random choice is not tried with a slow endpoint: its queue there only grows.
const TRIALS: [(Chooser, Shape); 5] = [
    (Chooser::Table, Shape::Equal),
    (Chooser::OwnCounts, Shape::Equal),
    (Chooser::Random, Shape::Equal),
    (Chooser::Table, Shape::OneSlow),
    (Chooser::OwnCounts, Shape::OneSlow),
];

/// Adds what was found to the report.
pub fn run(effort: &Effort, smoke: bool, report: &mut Report) -> io::Result<()> {
    // At 100 ms there are so few requests that all trials fit beside each other.
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
        let lost: u32 = results.iter().map(|result| result.lost).sum();
        report
            .section(
                format!("Real: {PROCESSES} processes, {ENDPOINTS} endpoints x {WORKERS} workers, {service_ms} ms"),
                rows,
            )
            .notes
            .push(format!("{requests} requests, {lost} lost."));
    }
    Ok(())
}

fn simulated_row(service_ms: u64, shape: Shape, ratio: f64) -> Row {
    Row::value(format!("simulated, {service_ms} ms, {shape}: the same ratio"), ratio, "")
}

/// What the simulator says of table over own counts: equal, and with a slow endpoint.
fn simulated(service_ms: u64, effort: &Effort) -> [f64; 2] {
    let jobs: Vec<Job> = [Shape::Equal, Shape::OneSlow]
        .into_iter()
        .flat_map(|shape| {
            let scenario = even::scenario(service_ms, shape, Callers::Fifty, effort);
            [Arm::Pointsman(Pointsman::default()), Arm::OwnCounts]
                .map(|arm| Job { scenario: scenario.clone(), arm })
        })
        .collect();
    let outcomes = run_jobs(&jobs, effort.seeds(2));
    [0, 2].map(|at| paired(&outcomes[at], &outcomes[at + 1], super::balance::p99).mean)
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
        let seen = self.callers(&servers.addresses, rate);
        servers.stop()?;
        let seen = seen?;
        let mut latencies: Vec<u64> =
            seen.iter().flat_map(|seen| &seen.latencies_us).map(|us| u64::from(*us)).collect();
        Ok(Figures {
            p99_ms: quantile(&mut latencies, 0.99) as f64 / 1e3,
            requests: latencies.len(),
            lost: seen.iter().map(|seen| seen.lost).sum(),
        })
    }

    /// All calling processes from start to end.
    fn callers(&self, addresses: &[SocketAddr], rate: f64) -> io::Result<Vec<Seen>> {
        let mut balancer = Balancer::new(self.chooser, addresses)?;
        let table = balancer.table_fd()?;
        let mut callers = Vec::with_capacity(PROCESSES);
        for seed in 1..=PROCESSES as u64 {
            let counters = balancer.counters()?;
            let counters_fd = counters.fd()?;
            let order = Order {
                table: path(&table),
                counters: path(&counters_fd),
                rate,
                work: self.service,
                warm_up: self.warm_up,
                measured: self.measured,
                seed,
            };
            callers.push(Caller::start(&order, counters_fd)?);
        }
        let publisher = balancer.start();
        callers.iter_mut().try_for_each(Caller::go)?;
        let seen = callers.into_iter().map(Caller::end).collect();
        publisher.stop();
        seen
    }
}

/// Where another process of this user can open a file of ours.
fn path(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd())
}

/// A calling process. Its counters are kept open here until it has opened them.
struct Caller {
    process: Child,
    _counters: OwnedFd,
}

impl Caller {
    fn start(order: &Order, counters: OwnedFd) -> io::Result<Self> {
        let process = Command::new(env::current_exe()?)
            .args(["bench", "balance", "--caller"])
            .arg(serde_json::to_string(order)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process, _counters: counters })
    }

    fn go(&mut self) -> io::Result<()> {
        self.process.stdin.take().expect("it is piped").write_all(b"go\n")
    }

    fn end(mut self) -> io::Result<Seen> {
        let mut line = String::new();
        BufReader::new(self.process.stdout.take().expect("it is piped")).read_line(&mut line)?;
        self.process.wait()?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

/// What the callers choose by.
enum Balancer {
    /// A table without load: own counts of two choices, or one choice.
    Still(TableWriter),
    Published(Box<ServicePublisher>),
}

impl Balancer {
    fn new(chooser: Chooser, addresses: &[SocketAddr]) -> io::Result<Self> {
        let choices = match chooser {
            Chooser::Table => {
                let endpoints: Arc<[_]> = addresses.iter().map(|at| endpoint(*at, 1)).collect();
                let publisher = ServicePublisher::new(Setup {
                    name: "bench".into(),
                    policy: Arc::new(Policy::default()),
                    here: Locality::default(),
                    memory: Memory::Shared,
                    endpoints: EndpointRef::all(&endpoints).collect(),
                    now: clock::now(),
                })?;
                return Ok(Self::Published(Box::new(publisher)));
            }
            Chooser::OwnCounts => 2,
            Chooser::Random => 1,
        };
        let capacity = pointsman_table::Capacity::for_endpoints(addresses.len() as u32);
        let mut writer = TableWriter::create(capacity, "bench")?;
        let endpoints: Vec<_> = addresses.iter().map(|at| (*at, 1)).collect();
        unpublished(&mut writer, &endpoints, choices);
        Ok(Self::Still(writer))
    }

    fn table_fd(&mut self) -> io::Result<OwnedFd> {
        match self {
            Self::Still(writer) => writer.reader_fd(),
            Self::Published(publisher) => publisher.table_fd(),
        }
    }

    fn counters(&mut self) -> io::Result<Arc<Counters>> {
        match self {
            Self::Still(writer) => Counters::create(writer.table().capacity().slots, 1, "bench"),
            Self::Published(publisher) => {
                let counters = publisher.new_counters(1)?;
                publisher.attach(counters.clone());
                Ok(counters)
            }
        }
    }

    fn start(self) -> Publishing {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::spawn(move || match self {
            Self::Still(writer) => drop(writer),
            Self::Published(mut publisher) => {
                let mut next = clock::now();
                while !stop.load(Ordering::Relaxed) {
                    let period = publisher.wanted_period();
                    publisher.pass(clock::now(), period);
                    let now = clock::now();
                    next = (next + period).max(now);
                    thread::sleep(next - now);
                }
            }
        });
        Publishing { stopping, thread }
    }
}

/// The publishing thread.
struct Publishing {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Publishing {
    fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("the publisher does not panic");
    }
}
