//! How often a busy service is published beside what others have open, and what that costs.
//!
//! The publishing thread is the shipped one, on the clock. The floor of a period is that of the busy
//! service alone; that of a share is a thread that wakes up as often and does nothing; both in the
//! same run.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use super::{
    report::{Goal, Row},
    threads::processor_time,
};
use crate::{
    catalog::{Catalog, Change, Endpoint, Labels, Locality, Port, Service, ServiceName, SourceId},
    clock,
    identity::Identity,
    policy::ConfigPolicies,
    publish::{Held, Live, Outcome, Tables, Target, Want, bell::Bell},
};

const TICK: Duration = Duration::from_millis(1);
/// For the tables in which nothing moves to fall asleep.
const SETTLE: Duration = Duration::from_secs(3);
const WATCHED: Duration = Duration::from_secs(10);
/// How long a request of the other services takes, in ticks.
const REQUEST_TICKS: usize = 20;
/// In percent of a core.
const MOST_OF_A_CORE: f64 = 3.0;

const ONE: Identity = Identity::Uid(1);
const OTHER: Identity = Identity::Uid(2);

/// What goes on beside the busy service.
struct Scene {
    name: &'static str,
    /// Tables of a service of their own each, or of one service by as many labels.
    tables: usize,
    labels: bool,
    /// A request every so many ticks, of each table in turn; none: one is open in each.
    request_every: Option<usize>,
}

const SCENES: [Scene; 5] = [
    Scene::open("1,000 services with a request open in each", 1_000, false),
    Scene::open("768 selectors of one caller with a lease each", 768, true),
    Scene::open("100 services with a request open in each", 100, false),
    // 30 x 3 a second.
    Scene::asked("30 services asked three times a second each", 30, 11),
    Scene::asked("768 services of one caller, all busy", 768, 1),
];

impl Scene {
    const fn open(name: &'static str, tables: usize, labels: bool) -> Self {
        Self { name, tables, labels, request_every: None }
    }

    const fn asked(name: &'static str, tables: usize, request_every: usize) -> Self {
        Self { name, tables, labels: false, request_every: Some(request_every) }
    }
}

/// The busy service alone, then beside each of the scenes.
pub(super) fn rows(smoke: bool) -> io::Result<Vec<Row>> {
    let part = if smoke { 20 } else { 1 };
    let bare = bare_wakeups(WATCHED / part)?;
    let alone = Scene::open("alone", 0, false).run(part)?;
    let mut rows = alone.rows("alone", None, bare);
    for scene in SCENES {
        let tables = scene.tables / part as usize;
        let seen = Scene { tables, ..scene }.run(part)?;
        rows.extend(seen.rows(scene.name, Some(alone.period_ms), bare));
    }
    Ok(rows)
}

/// Percent of a core that a thread takes which waits for every tick, as the publishing thread does,
/// and does nothing.
fn bare_wakeups(how_long: Duration) -> io::Result<f64> {
    const NAME: &str = "waits";
    let from = clock::now();
    let thread =
        thread::Builder::new().name(NAME.into()).spawn(move || -> io::Result<Duration> {
            let never_rung = Bell::new()?;
            while clock::now() - from < how_long {
                let since = (clock::now() - from).as_nanos() % TICK.as_nanos();
                Bell::wait_for([&never_rung], TICK - Duration::from_nanos(since as u64));
            }
            let spent = processor_time(std::process::id(), NAME)?;
            spent.ok_or_else(|| io::Error::other("no thread waits"))
        })?;
    // The machine is as awake as beside the requests.
    while !thread.is_finished() {
        thread::sleep(TICK);
    }
    let spent = thread.join().map_err(|_| io::Error::other("the thread that waits panicked"))??;
    Ok(100.0 * spent.as_secs_f64() / (clock::now() - from).as_secs_f64())
}

/// What the busy service and the thread had.
struct Seen {
    period_ms: f64,
    percent: f64,
}

impl Seen {
    fn rows(&self, scene: &str, alone: Option<f64>, bare: f64) -> Vec<Row> {
        let period = Row::value(format!("{scene}: its period"), self.period_ms, "ms");
        let period = match alone {
            Some(alone) => period.over(alone).goal(Goal::ratio_at_most(1.1)),
            None => period,
        };
        let share = Row::value(format!("{scene}: the thread's share of a core"), self.percent, "%");
        vec![period, share.over(bare).goal(Goal::value_at_most(MOST_OF_A_CORE))]
    }
}

impl Scene {
    fn run(&self, part: u32) -> io::Result<Seen> {
        let catalog = Arc::new(Catalog::new(["bench"]));
        let policies = ConfigPolicies::default();
        let tables = Tables::start(catalog.clone(), policies, Locality::default(), 1)?;
        let open = |name: String, label| open(&catalog, &tables, name, label);
        let busy = open("busy".into(), None)?;
        let others: Vec<Arc<Live>> = (0..self.tables)
            .map(|number| match self.labels {
                true => open("labelled".into(), Some((number, self.tables))),
                false => open(format!("other-{number}"), None),
            })
            .collect::<io::Result<_>>()?;
        let mut traffic = Traffic { scene: self, busy, others, held: VecDeque::new(), ticks: 0 };
        if self.request_every.is_none() {
            for other in &traffic.others {
                traffic.held.push_back(pick(other, OTHER)?);
            }
        }
        traffic.run(SETTLE / part)?;
        let (from, spent, published) =
            (clock::now(), publishing_time()?, traffic.busy.publication());
        traffic.run(WATCHED / part)?;
        let elapsed = (clock::now() - from).as_secs_f64();
        let published = traffic.busy.publication().wrapping_sub(published);
        let spent = publishing_time()?.saturating_sub(spent);
        tables.stop();
        Ok(Seen {
            period_ms: elapsed * 1e3 / f64::from(published),
            percent: 100.0 * spent.as_secs_f64() / elapsed,
        })
    }
}

struct Traffic<'a> {
    scene: &'a Scene,
    busy: Arc<Live>,
    others: Vec<Arc<Live>>,
    held: VecDeque<Held>,
    ticks: usize,
}

impl Traffic<'_> {
    fn run(&mut self, how_long: Duration) -> io::Result<()> {
        let end = clock::now() + how_long;
        while clock::now() < end {
            let request = pick(&self.busy, ONE)?;
            thread::sleep(TICK);
            request.end(Outcome::Success, Some(TICK * 10));
            self.ticks += 1;
            if let Some(every) = self.scene.request_every
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

fn pick(live: &Live, who: Identity) -> io::Result<Held> {
    let want = Want { exclude: &[], key: None, count: 1, cost: 1, caller: who };
    let mut picked = live.pick(&want).map_err(io::Error::other)?;
    Ok(picked.picks.remove(0))
}

/// The table of a service of ten endpoints, or of one endpoint of a service of so many.
fn open(
    catalog: &Catalog,
    tables: &Tables,
    name: String,
    label: Option<(usize, usize)>,
) -> io::Result<Arc<Live>> {
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

/// What the publishing thread of this process has had of a processor.
fn publishing_time() -> io::Result<Duration> {
    let time = processor_time(std::process::id(), "publish")?;
    time.ok_or_else(|| io::Error::other("no thread publishes"))
}
