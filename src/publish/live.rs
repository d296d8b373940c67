//! A target with a table, as the socket sees it: picks, and what explains them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use pointsman_table::{Pick, Picker, Request, ServerLoad, Waker};

use super::{
    Outcome, ServicePublisher,
    samples::{Sample, Samples},
};
use crate::{
    catalog::{EndpointRef, Health, Labels, ServiceName},
    clock,
    plan::{Plan, State},
    policy::Policy,
};

/// A longer request is a stream: it counts in flight, but its latency says nothing.
const STREAM: Duration = Duration::from_secs(30);

/// What a table is made for: one port of a service, narrowed by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports, by name and number as the source gives them.
    pub port: (Option<Arc<str>>, Option<u16>),
    /// Only endpoints with all of these labels.
    pub selector: Labels,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.service)?;
        match &self.port {
            (Some(name), _) => write!(f, ":{name}")?,
            (None, Some(number)) => write!(f, ":{number}")?,
            (None, None) => {}
        }
        for (key, value) in &self.selector {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

/// What one pick wants.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Addresses not to pick.
    pub exclude: &'a [SocketAddr],
    /// What to hash by.
    pub key: Option<&'a [u8]>,
    /// Distinct endpoints, at least 1; fewer come back where there are no more.
    pub count: u32,
    /// At least 1.
    pub cost: u32,
}

/// What one pick got: at least one.
#[derive(Debug)]
pub struct Picked {
    /// The first is in flight, the others from [`Held::start`].
    pub picks: Vec<Held>,
    /// The plan's version.
    pub plan: u64,
    /// The source has not confirmed the endpoints for over ten minutes.
    pub stale: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("no endpoint of {target} can serve: {why}")]
pub struct NoEndpoint {
    /// What was asked for.
    pub target: String,
    /// Such as `3 endpoints: 2 unready, 1 excluded`.
    pub why: String,
}

/// A picked endpoint, in flight or not yet; dropped unused it ends as cancelled.
#[derive(Debug)]
pub struct Held {
    /// As the source knows it.
    pub endpoint: EndpointRef,
    /// The group's index in the plan.
    pub priority: u32,
    callers: Arc<Callers>,
    pick: Pick,
    started: bool,
}

impl Held {
    /// Counts it in flight from now on, if it is not yet.
    pub fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.callers.lock().picker.start(self.pick.slot, self.pick.cost);
        }
    }

    /// Keeps what the server said of its load.
    pub fn report_load(&self, load: &ServerLoad) {
        self.callers.lock().picker.report_load(self.pick.slot, load);
    }

    /// Counts this request as a retry.
    pub fn retried(&self) {
        self.callers.lock().picker.retried();
    }

    /// The request is over.
    pub fn end(mut self, outcome: Outcome, latency: Option<Duration>) {
        self.finish(outcome, latency);
    }

    fn finish(&mut self, outcome: Outcome, latency: Option<Duration>) {
        if std::mem::take(&mut self.started) {
            let latency = latency.filter(|l| *l <= STREAM).map(|l| l.as_micros() as u32);
            self.callers.lock().picker.end(self.pick.slot, self.pick.cost, outcome, latency);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.finish(Outcome::Cancelled, None);
    }
}

/// The callers of the socket, who count as one process in one table. A superseded table's live on
/// as long as something is held of them.
#[derive(Debug)]
struct Callers {
    inner: Mutex<Counting>,
}

#[derive(Debug)]
struct Counting {
    picker: Picker,
    /// By slot; grows before a generation names a new one.
    endpoints: Vec<Option<(EndpointRef, u32)>>,
    slot_of: std::collections::HashMap<SocketAddr, u32>,
    samples: Samples,
    many: Vec<Pick>,
    exclude: Vec<u32>,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, Counting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One endpoint as this node sees it.
#[derive(Debug)]
pub struct EndpointStatus {
    /// As the source knows it.
    pub endpoint: EndpointRef,
    /// What the plan makes of it.
    pub state: State,
    /// The plan's weight.
    pub weight: f64,
    /// From this node.
    pub in_flight: u32,
    /// Ended over the last ten seconds, from this node.
    pub requests: u32,
    /// Of these, failed, expired or unreachable.
    pub failures: u32,
    /// Of these, the mean of the timed ones.
    pub mean_latency: Option<Duration>,
}

/// All that explains a pick.
#[derive(Debug)]
pub struct Explanation {
    /// What was asked for.
    pub target: Target,
    /// With every factor's reason.
    pub plan: Arc<Plan>,
    /// The settings in force.
    pub policy: Arc<Policy>,
    /// By the plan's endpoints: what is published now; None: not picked from.
    pub cells: Vec<Option<CellView>>,
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// Retries that may still be made.
    pub retry_left: f64,
    /// Between two publications.
    pub period: Duration,
}

/// What is published of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct CellView {
    /// Score with nothing in flight of the caller's own.
    pub base: f32,
    /// Added per request of the caller's own.
    pub slope: f32,
    /// Most of the caller's own.
    pub limit: i32,
}

/// A target with a table.
#[derive(Debug)]
pub struct Live {
    target: Target,
    seed: u32,
    waker: Waker,
    publisher: Mutex<ServicePublisher>,
    callers: ArcSwap<Callers>,
    shown: ArcSwap<Shown>,
}

/// What changes with the plan and every pick shows.
#[derive(Debug)]
struct Shown {
    plan: u64,
    stale: bool,
}

impl Live {
    /// Callers of the socket attach at once; `waker` wakes the publishing thread.
    pub(super) fn new(
        target: Target,
        mut publisher: ServicePublisher,
        stale: bool,
        seed: u32,
        waker: Waker,
    ) -> std::io::Result<Self> {
        let callers = attach(&mut publisher, seed, &waker)?;
        let shown = Shown { plan: publisher.plan().version, stale };
        Ok(Self {
            target,
            seed,
            waker,
            publisher: Mutex::new(publisher),
            callers: ArcSwap::from_pointee(callers),
            shown: ArcSwap::from_pointee(shown),
        })
    }

    /// What it was made for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn publisher(&self) -> MutexGuard<'_, ServicePublisher> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets callers see what the publisher decided: new slots, or a table that superseded theirs.
    pub(super) fn follow(
        &self,
        publisher: &mut ServicePublisher,
        stale: bool,
        superseded: bool,
    ) -> std::io::Result<()> {
        if superseded {
            self.callers.store(Arc::new(attach(publisher, self.seed, &self.waker)?));
        } else {
            know(&mut self.callers.load().lock(), publisher);
        }
        self.shown.store(Arc::new(Shown { plan: publisher.plan().version, stale }));
        Ok(())
    }

    /// Whether the source has stopped confirming it.
    pub(super) fn is_stale(&self) -> bool {
        self.shown.load().stale
    }

    /// Picks endpoints and counts the first in flight.
    ///
    /// # Errors
    /// No endpoint can serve; says why.
    pub fn pick(&self, want: &Want<'_>) -> Result<Picked, NoEndpoint> {
        let callers = self.callers.load_full();
        let mut guard = callers.lock();
        let counting = &mut *guard;
        counting.exclude.clear();
        counting.exclude.extend(want.exclude.iter().filter_map(|a| counting.slot_of.get(a)));
        let request =
            Request { exclude: &counting.exclude, cost: want.cost, key: want.key };
        let mut picks = Vec::with_capacity(want.count.max(1) as usize);
        let mut hold = |pick: Pick, started: bool, endpoints: &[Option<(EndpointRef, u32)>]| {
            if let Some((endpoint, priority)) = &endpoints[pick.slot as usize] {
                let (endpoint, priority) = (endpoint.clone(), *priority);
                picks.push(Held { endpoint, priority, callers: callers.clone(), pick, started });
            }
        };
        if want.count > 1 {
            let mut many = std::mem::take(&mut counting.many);
            counting.picker.pick_many(&request, want.count as usize, &mut many);
            for (index, pick) in many.iter().enumerate() {
                hold(*pick, index == 0, &counting.endpoints);
            }
            counting.many = many;
        } else {
            let pick = if counting.samples.due() {
                let explained = counting.picker.explained(&request);
                let sample = sample(&explained, counting);
                counting.samples.keep(sample);
                explained.pick
            } else {
                counting.picker.pick(&request)
            };
            if let Some(pick) = pick {
                hold(pick, true, &counting.endpoints);
            }
        }
        drop(guard);
        if picks.is_empty() {
            return Err(self.none(want));
        }
        let shown = self.shown.load();
        Ok(Picked { picks, plan: shown.plan, stale: shown.stale })
    }

    #[cold]
    fn none(&self, want: &Want<'_>) -> NoEndpoint {
        let plan = self.publisher().plan().clone();
        NoEndpoint { target: self.target.to_string(), why: why_none(&plan, want) }
    }

    /// What a watch of this target shows: in the order of the source.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let now = clock::now();
        let publisher = self.publisher();
        (publisher.plan().endpoints.iter().zip(publisher.loads()))
            .map(|(planned, load)| {
                let recent = load.ring.sum(now, Duration::ZERO);
                EndpointStatus {
                    endpoint: planned.endpoint.clone(),
                    state: planned.state,
                    weight: planned.weight,
                    in_flight: load.in_flight,
                    requests: recent.ended,
                    failures: recent.failed,
                    mean_latency: recent.mean_latency(),
                }
            })
            .collect()
    }

    /// All that explains a pick.
    pub fn explain(&self) -> Explanation {
        let samples = self.callers.load().lock().samples.all();
        let publisher = self.publisher();
        Explanation {
            target: self.target.clone(),
            plan: publisher.plan().clone(),
            policy: publisher.policy().clone(),
            cells: cells(&publisher),
            samples,
            retry_left: publisher.retries_left(clock::now()),
            period: publisher.period(),
        }
    }
}

fn attach(publisher: &mut ServicePublisher, seed: u32, waker: &Waker) -> std::io::Result<Callers> {
    let table = publisher.table();
    // One shard: the callers share one picker, under its lock.
    let counters = publisher.new_counters(1)?;
    publisher.attach(counters.clone());
    let picker = Picker::new(table, counters, seed, Some(waker.clone()));
    let mut counting = Counting {
        picker,
        endpoints: Vec::new(),
        slot_of: std::collections::HashMap::new(),
        samples: Samples::default(),
        many: Vec::new(),
        exclude: Vec::new(),
    };
    know(&mut counting, publisher);
    Ok(Callers { inner: Mutex::new(counting) })
}

fn cells(publisher: &ServicePublisher) -> Vec<Option<CellView>> {
    let table = publisher.table();
    (publisher.plan().endpoints.iter().zip(publisher.slots()))
        .map(|(planned, slot)| {
            planned.group?;
            let cell = table.cell(*slot)?;
            Some(CellView { base: cell.base, slope: cell.slope, limit: cell.limit })
        })
        .collect()
}

/// Takes in the endpoints behind the slots.
fn know(counting: &mut Counting, publisher: &ServicePublisher) {
    counting.slot_of.clear();
    for (planned, slot) in publisher.plan().endpoints.iter().zip(publisher.slots()) {
        let at = *slot as usize;
        if counting.endpoints.len() <= at {
            counting.endpoints.resize(at + 1, None);
        }
        let priority = planned.group.unwrap_or_default() as u32;
        counting.endpoints[at] = Some((planned.endpoint.clone(), priority));
        counting.slot_of.insert(planned.endpoint.address, *slot);
    }
}

fn sample(explained: &pointsman_table::Explanation, counting: &Counting) -> Sample {
    let address = |slot: u32| {
        let known = counting.endpoints.get(slot as usize)?.as_ref()?;
        Some(known.0.address)
    };
    Sample {
        at: clock::wall(),
        group: explained.group,
        candidates: (explained.candidates.iter())
            .filter_map(|c| Some((address(c.slot)?, c.score, c.eligible)))
            .collect(),
        chosen: explained.pick.and_then(|pick| address(pick.slot)),
        overflowed: explained.overflowed,
    }
}

/// Counts what keeps each endpoint from serving.
fn why_none(plan: &Plan, want: &Want<'_>) -> String {
    let all = plan.endpoints.len();
    if all == 0 {
        return "the source knows no endpoint of it".into();
    }
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for planned in &plan.endpoints {
        let reason = if want.exclude.contains(&planned.endpoint.address) {
            "excluded by the request".to_owned()
        } else if planned.endpoint.health == Health::Unready {
            "unready".to_owned()
        } else if planned.limit != i32::MAX {
            "at its limit".to_owned()
        } else {
            match planned.factors.iter().rfind(|f| f.value == 0.0) {
                Some(factor) => factor.reason.to_string(),
                None => planned.state.as_str().to_owned(),
            }
        };
        match reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    let listed: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
    let noun = if all == 1 { "endpoint" } else { "endpoints" };
    format!("{all} {noun}: {}", listed.join(", "))
}
