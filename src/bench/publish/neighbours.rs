//! How often a busy service is published while other services have requests open, and what that costs.
//!
//! The publishing thread is the real one, in real time. The floor of a period is the period of the busy
//! service alone. The floor of a share is a thread that wakes up as often and does nothing. Both are
//! measured in the same run.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use crate::{
    bench::{
        report::{Goal, Row},
        thread_usage::processor_time,
    },
    catalog::{Catalog, Change, Endpoint, Labels, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    policy::ConfigPolicies,
    publish::{
        InFlightGuard, Outcome, PickOptions, ServiceTable, Tables, Target, wake_event::WakeEvent,
    },
};

const TICK: Duration = Duration::from_millis(1);
/// The time until tables without activity are asleep.
const SETTLE: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
/// How long a request of the other services takes, in ticks.
const REQUEST_TICKS: usize = 20;
/// In percent of a core.
const MOST_OF_A_CORE: f64 = 3.0;

const ONE: Identity = Identity::Uid(1);
const OTHER: Identity = Identity::Uid(2);

/// The tables beside the busy service, and their requests.
struct Neighbours {
    name: &'static str,
    /// The number of tables. Each has a service of its own, or a label of one service.
    tables: usize,
    labels: bool,
    /// A request each time this many ticks have passed, for each table in turn. `None`: each table has one
    /// open request.
    request_every: Option<usize>,
}

const NEIGHBOURS: [Neighbours; 5] = [
    Neighbours::open("1,000 services with a request open in each", 1_000, false),
    Neighbours::open("768 selectors of one caller with a lease each", 768, true),
    Neighbours::open("100 services with a request open in each", 100, false),
    // 30 x 3 a second.
    Neighbours::asked("30 services asked three times a second each", 30, 11),
    Neighbours::asked("768 services of one caller, all busy", 768, 1),
];

impl Neighbours {
    const fn open(name: &'static str, tables: usize, labels: bool) -> Self {
        Self { name, tables, labels, request_every: None }
    }

    const fn asked(name: &'static str, tables: usize, request_every: usize) -> Self {
        Self { name, tables, labels: false, request_every: Some(request_every) }
    }
}

/// Measures the busy service alone, then with each set of neighbours.
pub(super) fn rows(smoke: bool) -> io::Result<Vec<Row>> {
    let part = if smoke { 20 } else { 1 };
    let bare = bare_wakeups(MEASURED / part)?;
    let alone = Neighbours::open("alone", 0, false).run(part)?;
    let mut rows = alone.rows("alone", None, bare);
    for neighbours in NEIGHBOURS {
        let tables = neighbours.tables / part as usize;
        let measurement = Neighbours { tables, ..neighbours }.run(part)?;
        rows.extend(measurement.rows(neighbours.name, Some(alone.period_ms), bare));
    }
    Ok(rows)
}

/// The percentage of a core that a thread uses that only waits for every tick, as the publishing thread
/// does.
fn bare_wakeups(duration: Duration) -> io::Result<f64> {
    const NAME: &str = "waits";
    let from = clock::now();
    let thread =
        thread::Builder::new().name(NAME.into()).spawn(move || -> io::Result<Duration> {
            let never_signaled = WakeEvent::new()?;
            while clock::now() - from < duration {
                let since = (clock::now() - from).as_nanos() % TICK.as_nanos();
                WakeEvent::wait_for([&never_signaled], TICK - Duration::from_nanos(since as u64));
            }
            let spent = processor_time(std::process::id(), NAME)?;
            spent.ok_or_else(|| io::Error::other("no thread waits"))
        })?;
    // Keeps the machine as awake as it is with the requests.
    while !thread.is_finished() {
        thread::sleep(TICK);
    }
    let spent = thread.join().map_err(|_| io::Error::other("the thread that waits panicked"))??;
    Ok(100.0 * spent.as_secs_f64() / (clock::now() - from).as_secs_f64())
}

/// The period of the busy service, and the processor time of the publishing thread.
struct Measurement {
    period_ms: f64,
    percent: f64,
}

impl Measurement {
    fn rows(&self, neighbours: &str, alone: Option<f64>, bare: f64) -> Vec<Row> {
        let period = Row::value(format!("{neighbours}: its period"), self.period_ms, "ms");
        let period = match alone {
            Some(alone) => period.over(alone).goal(Goal::ratio_at_most(1.1)),
            None => period,
        };
        let share =
            Row::value(format!("{neighbours}: the thread's share of a core"), self.percent, "%");
        vec![period, share.over(bare).goal(Goal::value_at_most(MOST_OF_A_CORE))]
    }
}

impl Neighbours {
    fn run(&self, part: u32) -> io::Result<Measurement> {
        let catalog = Arc::new(Catalog::new(["bench"]));
        let policies = ConfigPolicies::default();
        let tables = Tables::start(catalog.clone(), policies, Locality::default(), 1)?;
        let open = |name: String, label| open(&catalog, &tables, name, label);
        let busy = open("busy".into(), None)?;
        let others: Vec<Arc<ServiceTable>> = (0..self.tables)
            .map(|number| match self.labels {
                true => open("labelled".into(), Some((number, self.tables))),
                false => open(format!("other-{number}"), None),
            })
            .collect::<io::Result<_>>()?;
        let mut traffic =
            Traffic { neighbours: self, busy, others, held: VecDeque::new(), ticks: 0 };
        if self.request_every.is_none() {
            for other in &traffic.others {
                traffic.held.push_back(pick(other, OTHER)?);
            }
        }
        traffic.run(SETTLE / part)?;
        let (from, spent, published) =
            (clock::now(), publishing_time()?, traffic.busy.publication());
        traffic.run(MEASURED / part)?;
        let elapsed = (clock::now() - from).as_secs_f64();
        let published = traffic.busy.publication().wrapping_sub(published);
        let spent = publishing_time()?.saturating_sub(spent);
        tables.stop();
        Ok(Measurement {
            period_ms: elapsed * 1e3 / f64::from(published),
            percent: 100.0 * spent.as_secs_f64() / elapsed,
        })
    }
}

struct Traffic<'a> {
    neighbours: &'a Neighbours,
    busy: Arc<ServiceTable>,
    others: Vec<Arc<ServiceTable>>,
    held: VecDeque<InFlightGuard>,
    ticks: usize,
}

impl Traffic<'_> {
    fn run(&mut self, duration: Duration) -> io::Result<()> {
        let end = clock::now() + duration;
        while clock::now() < end {
            let request = pick(&self.busy, ONE)?;
            thread::sleep(TICK);
            request.end(Outcome::Success, Some(TICK * 10));
            self.ticks += 1;
            if let Some(every) = self.neighbours.request_every
                && self.ticks.is_multiple_of(every)
            {
                let turn = self.ticks / every % self.others.len();
                self.held.push_back(pick(&self.others[turn], OTHER)?);
                if self.held.len() > REQUEST_TICKS.div_ceil(every) {
                    let oldest = self.held.pop_front();
                    oldest.into_iter().for_each(|held| held.end(Outcome::Success, None));
                }
            }
        }
        Ok(())
    }
}

fn pick(live: &ServiceTable, who: Identity) -> io::Result<InFlightGuard> {
    let want = PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: who };
    let mut picked = live.pick_endpoints(&want).map_err(io::Error::other)?;
    Ok(picked.picks.remove(0))
}

/// Opens the table of a service of ten endpoints or, with a label, of one endpoint of a larger service.
fn open(
    catalog: &Catalog,
    tables: &Tables,
    name: String,
    label: Option<(usize, usize)>,
) -> io::Result<Arc<ServiceTable>> {
    let name = ServiceName { name: name.into(), namespace: "bench".into(), cluster: None };
    let shard = |number: usize| Labels::from([("shard".into(), number.to_string().into())]);
    let endpoints = label.map_or(10, |(_, all)| all);
    if catalog.get(&name).is_none() {
        let endpoint = |number: usize| Endpoint {
            labels: Arc::new(shard(number)),
            ..Endpoint::at(([10, 0, (number >> 8) as u8, number as u8], 80).into())
        };
        let endpoints = (0..endpoints).map(endpoint).collect();
        let service = Service::new(
            name.clone(),
            "bench",
            vec![Port { name: None, number: Some(80), endpoints }],
        );
        catalog.apply(SourceId(0), Change::Upsert(service), clock::now());
    }
    let target = Target {
        service: name,
        port: (None, Some(80)),
        selector: label.map_or_else(Labels::new, |(number, _)| shard(number)),
        way: Default::default(),
    };
    tables.open(&target)?.ok_or_else(|| io::Error::other("the port is not in the catalog"))
}

/// The processor time of this process's publishing thread.
fn publishing_time() -> io::Result<Duration> {
    let time = processor_time(std::process::id(), "publish")?;
    time.ok_or_else(|| io::Error::other("no thread publishes"))
}
