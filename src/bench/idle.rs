//! The cost of an idle agent, and whether it ever misses a wake-up.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::Duration,
};

use super::{
    agent_process::AgentProcess,
    report::{Goal, Report, Row},
    thread_usage::ThreadUsage,
};
use crate::{
    catalog::{Catalog, Change, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    policy::ConfigPolicies,
    publish::{Outcome, PickOptions, ServiceTable, Tables, Target},
    sim::{
        pointsman::endpoint,
        rng::{Purpose, RandomStream},
    },
};

const WAKE_UPS_A_SECOND: f64 = 4.0;
const SERVICES: usize = 100;
const MEASURED: Duration = Duration::from_secs(20);
/// The time after the last pick until all tables are asleep.
const SETTLE: Duration = Duration::from_secs(2);

/// Callers that sleep for random times, each with an agent of its own. A round takes as long as an agent
/// takes to fall asleep, so many agents run side by side.
const ROUNDS: u64 = 100_000;
const AGENTS: u64 = 100;
/// The longest sleep of a caller. With it about half of the picks find the agent asleep, and some find
/// it falling asleep.
const LONGEST_SLEEP: Duration = Duration::from_millis(130);

/// Measures a real agent at rest, then lets callers wake publishing threads.
pub fn run(smoke: bool) -> io::Result<Report> {
    let mut report = Report::default();
    let services = if smoke { 5 } else { SERVICES };
    let measured = if smoke { MEASURED / 20 } else { MEASURED };
    let agent = AgentProcess::start(services)?;
    agent.pick_from(services)?;
    thread::sleep(SETTLE);
    let before = ProcessUsage::of(agent.pid())?;
    thread::sleep(measured);
    let (switches, cpu_time) = ProcessUsage::of(agent.pid())?.since(&before);
    let seconds = measured.as_secs_f64();
    let wake_ups = switches as f64 / seconds;
    let processor = 100.0 * cpu_time.as_secs_f64() / seconds;
    report.section(
        format!("The agent at rest, after a pick from each of {services} services"),
        vec![
            Row::value("at rest: wake-ups a second, all threads", wake_ups, "/s")
                .goal(Goal::value_at_most(WAKE_UPS_A_SECOND)),
            Row::value("at rest: share of a core", processor, "%"),
        ],
    );

    let rounds = if smoke { 200 } else { ROUNDS };
    let agents = if smoke { 10 } else { AGENTS };
    let woken = WakeupCounts::measure(agents, rounds / agents)?;
    report
        .section(
            format!("{agents} publishing threads, each with a caller that sleeps at random"),
            vec![
                Row::value("rounds", woken.rounds as f64, ""),
                Row::value("rounds that found the agent asleep", woken.asleep as f64, ""),
                Row::value("lost wake-ups", woken.lost as f64, "").goal(Goal::value_at_most(0.0)),
            ],
        )
        .notes
        .push(
            "Lost: no message arrived, and only the check of the sleeping agent found it.".into(),
        );
    Ok(report)
}

/// What each thread of a process has used so far.
struct ProcessUsage(HashMap<OsString, ThreadUsage>);

impl ProcessUsage {
    fn of(pid: u32) -> io::Result<Self> {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
        let work = threads.map(|thread| {
            let thread = thread?;
            Ok((thread.file_name(), ThreadUsage::of(&thread.path())?))
        });
        work.collect::<io::Result<_>>().map(Self)
    }

    /// What all threads have used since `before`. The usage of threads that have ended is lost.
    fn since(&self, before: &Self) -> (u64, Duration) {
        let earlier = |thread| before.0.get(thread).copied().unwrap_or_default();
        self.0.iter().fold((0, Duration::ZERO), |(switches, cpu_time), (thread, now)| {
            let then = earlier(thread);
            let switched = now.switches.saturating_sub(then.switches);
            (switches + switched, cpu_time + now.cpu_time.saturating_sub(then.cpu_time))
        })
    }
}

/// What happened in the rounds.
struct WakeupCounts {
    rounds: u64,
    asleep: u64,
    lost: u64,
}

impl WakeupCounts {
    fn measure(agents: u64, rounds: u64) -> io::Result<Self> {
        let asleep = AtomicU64::new(0);
        let lost = thread::scope(|scope| {
            let running: Vec<_> = (0..agents)
                .map(|seed| {
                    let asleep = &asleep;
                    scope.spawn(move || run_sleepy_caller(seed, rounds, asleep))
                })
                .collect();
            let ended = running.into_iter().map(|caller| caller.join().expect("no caller panics"));
            ended.sum::<io::Result<u64>>()
        })?;
        Ok(Self { rounds: agents * rounds, asleep: asleep.load(Relaxed), lost })
    }
}

/// Runs a real publishing thread with one caller. Returns how many wake-ups were lost.
fn run_sleepy_caller(seed: u64, rounds: u64, asleep: &AtomicU64) -> io::Result<u64> {
    let catalog = Arc::new(Catalog::new(["bench"]));
    let locality = Locality::default();
    let tables = Tables::start(catalog.clone(), ConfigPolicies::default(), locality, seed as u32)?;
    let live = open(&catalog, &tables)?;
    let numbers = tables.numbers();
    let mut sleeps = RandomStream::new(seed, Purpose::Gaps);
    for _ in 0..rounds {
        let sleep = LONGEST_SLEEP.as_micros() as usize;
        thread::sleep(Duration::from_micros(sleeps.below(sleep) as u64));
        asleep.fetch_add(u64::from(numbers.period_ns.load(SeqCst) == 0), Relaxed);
        let before = numbers.passes.load(SeqCst);
        let want =
            PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: Identity::Uid(0) };
        for held in live.pick_endpoints(&want).map_err(io::Error::other)?.picks {
            held.end(Outcome::Success, None);
        }
        // Waits until a pass saw the pick: the message of the next pick would hide a lost one.
        while numbers.passes.load(SeqCst) == before {
            thread::sleep(Duration::from_micros(200));
        }
    }
    tables.stop();
    Ok(tables.numbers().late_wakeups.load(SeqCst))
}

fn open(catalog: &Catalog, tables: &Tables) -> io::Result<Arc<ServiceTable>> {
    let name = ServiceName { name: "idle".into(), namespace: "bench".into(), cluster: None };
    let endpoints = Arc::new([endpoint(([127, 0, 0, 1], 80).into(), 1)]);
    let service =
        Service::new(name.clone(), "bench", vec![Port { name: None, number: Some(80), endpoints }]);
    catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
    let target = Target {
        service: name,
        port: (None, Some(80)),
        selector: Default::default(),
        way: Default::default(),
    };
    tables.open(&target)?.ok_or_else(|| io::Error::other("the port is not in the catalog"))
}
