//! What the agent costs while nothing happens, and whether it ever sleeps through a pick.

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
    threads::Work,
};
use crate::{
    catalog::{Catalog, Change, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    policy::ConfigPolicies,
    publish::{Live, Outcome, Tables, Target, Want},
    sim::{
        chance::{Purpose, Stream},
        shipped::endpoint,
    },
};

const WAKE_UPS_A_SECOND: f64 = 4.0;
const SERVICES: usize = 100;
const WATCHED: Duration = Duration::from_secs(20);
/// After the last pick, for the tables to fall asleep.
const SETTLE: Duration = Duration::from_secs(2);

/// Rounds of callers that sleep at random, over so many agents side by side: one round takes as
/// long as an agent takes to fall asleep.
const ROUNDS: u64 = 100_000;
const AGENTS: u64 = 100;
/// A caller sleeps up to this: about half of its picks find the agent asleep, some on its way.
const LONGEST_SLEEP: Duration = Duration::from_millis(130);

/// Watches a real agent at rest, then lets callers wake publishing threads.
pub fn run(smoke: bool) -> io::Result<Report> {
    let mut report = Report::default();
    let services = if smoke { 5 } else { SERVICES };
    let watched = if smoke { WATCHED / 20 } else { WATCHED };
    let agent = AgentProcess::start(services)?;
    agent.pick_from(services)?;
    thread::sleep(SETTLE);
    let before = Rest::of(agent.pid())?;
    thread::sleep(watched);
    let (switches, ran) = Rest::of(agent.pid())?.since(&before);
    let seconds = watched.as_secs_f64();
    let wake_ups = switches as f64 / seconds;
    let processor = 100.0 * ran.as_secs_f64() / seconds;
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
    let woken = Woken::by_callers(agents, rounds / agents)?;
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
        .push("Lost: found by the backstop of a sleeping agent, and by no message.".into());
    Ok(report)
}

/// What each thread of a process did up to a moment.
struct Rest(HashMap<OsString, Work>);

impl Rest {
    fn of(pid: u32) -> io::Result<Self> {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
        let work = threads.map(|thread| {
            let thread = thread?;
            Ok((thread.file_name(), Work::of(&thread.path())?))
        });
        work.collect::<io::Result<_>>().map(Self)
    }

    /// What all threads did since; one that ended meanwhile took what it did with it.
    fn since(&self, before: &Self) -> (u64, Duration) {
        let earlier = |thread| before.0.get(thread).copied().unwrap_or_default();
        self.0.iter().fold((0, Duration::ZERO), |(switches, ran), (thread, now)| {
            let then = earlier(thread);
            let switched = now.switches.saturating_sub(then.switches);
            (switches + switched, ran + now.ran.saturating_sub(then.ran))
        })
    }
}

/// What became of the rounds.
struct Woken {
    rounds: u64,
    asleep: u64,
    lost: u64,
}

impl Woken {
    fn by_callers(agents: u64, rounds: u64) -> io::Result<Self> {
        let asleep = AtomicU64::new(0);
        let lost = thread::scope(|scope| {
            let running: Vec<_> = (0..agents)
                .map(|seed| {
                    let asleep = &asleep;
                    scope.spawn(move || call_at_random(seed, rounds, asleep))
                })
                .collect();
            let ended = running.into_iter().map(|caller| caller.join().expect("no caller panics"));
            ended.sum::<io::Result<u64>>()
        })?;
        Ok(Self { rounds: agents * rounds, asleep: asleep.load(Relaxed), lost })
    }
}

/// One publishing thread as shipped, and its caller; how many wake-ups it lost.
fn call_at_random(seed: u64, rounds: u64, asleep: &AtomicU64) -> io::Result<u64> {
    let catalog = Arc::new(Catalog::new(["bench"]));
    let here = Locality::default();
    let tables = Tables::start(catalog.clone(), ConfigPolicies::default(), here, seed as u32)?;
    let live = open(&catalog, &tables)?;
    let numbers = tables.numbers();
    let mut sleeps = Stream::new(seed, Purpose::Gaps);
    for _ in 0..rounds {
        let sleep = LONGEST_SLEEP.as_micros() as usize;
        thread::sleep(Duration::from_micros(sleeps.below(sleep) as u64));
        asleep.fetch_add(u64::from(numbers.period_ns.load(SeqCst) == 0), Relaxed);
        let before = numbers.passes.load(SeqCst);
        let want = Want { exclude: &[], key: None, count: 1, cost: 1, caller: Identity::Uid(0) };
        for held in live.pick(&want).map_err(io::Error::other)?.picks {
            held.end(Outcome::Success, None);
        }
        // Not before it was seen: the next pick's message would hide the loss of this one's.
        while numbers.passes.load(SeqCst) == before {
            thread::sleep(Duration::from_micros(200));
        }
    }
    tables.stop();
    Ok(tables.numbers().late_wakeups.load(SeqCst))
}

fn open(catalog: &Catalog, tables: &Tables) -> io::Result<Arc<Live>> {
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
