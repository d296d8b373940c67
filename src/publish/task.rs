//! The publishing thread: one timer for all live targets, asleep while nothing happens.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use pointsman_table::wake;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{
    bell::Bell,
    live::Live,
    period,
    segment::Memory,
    service::{ServicePublisher, Setup},
    target::{Target, Way},
};
use crate::{
    catalog::{Catalog, Endpoint, EndpointRef, Port, Service, ServiceName},
    clock,
    plan::{Here, Standing},
    policy::{ConfigPolicies, Policy, resolve},
};

/// How often a sleeping publisher looks whether a message got lost. What it finds is a bug, and
/// counted as one.
const BACKSTOP: Duration = Duration::from_millis(500);
/// How often it looks where the kernel can't make sleep safe.
const POLL_WITHOUT_BARRIER: Duration = Duration::from_millis(100);

/// The live tables; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tables {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    catalog: Arc<Catalog>,
    policies: ArcSwap<ConfigPolicies>,
    here: ArcSwap<Here>,
    seed: u32,
    /// What an earlier agent had judged of targets that nobody has asked for yet.
    remembered: Mutex<Judgements>,
    /// Counts changes of what is judged.
    judged: watch::Sender<u64>,
    live: Mutex<HashMap<Target, Arc<Live>>>,
    changed: Mutex<HashSet<ServiceName>>,
    stopping: AtomicBool,
    wake_up: Bell,
    /// Services have changed. Apart from `wake_up`, which callers ring as they go.
    told: Bell,
    numbers: Numbers,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where endpoints stand with their errors, by target and address.
pub type Judgements = HashMap<Target, HashMap<SocketAddr, Standing>>;

/// What metrics show of the publishing thread.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Publications of all tables.
    pub passes: AtomicU64,
    /// The period of the last publication, in nanoseconds; 0 while asleep.
    pub period_ns: AtomicU64,
    /// Cycles that took longer than their period.
    pub overruns: AtomicU64,
    /// Activity that only the backstop found.
    pub late_wakeups: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tables {
    /// Starts the publishing thread over this catalog. `seed`: of all picks.
    ///
    /// # Errors
    /// The system gives no thread or no event descriptor.
    pub fn start(
        catalog: Arc<Catalog>,
        policies: ConfigPolicies,
        here: Here,
        seed: u32,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            catalog: catalog.clone(),
            policies: ArcSwap::from_pointee(policies),
            here: ArcSwap::from_pointee(here),
            seed,
            remembered: Mutex::default(),
            judged: watch::Sender::new(0),
            live: Mutex::default(),
            changed: Mutex::default(),
            stopping: AtomicBool::new(false),
            wake_up: Bell::new()?,
            told: Bell::new()?,
            numbers: Numbers::default(),
            thread: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        catalog.on_change(Box::new(move |service| {
            if let Some(shared) = weak.upgrade() {
                lock(&shared.changed).insert(service.clone());
                shared.told.ring();
            }
        }));
        let cycle = Cycle::new(shared.clone());
        let thread =
            std::thread::Builder::new().name("publish".into()).spawn(move || cycle.run())?;
        *lock(&shared.thread) = Some(thread);
        Ok(Self { shared })
    }

    /// The live table of a target, made at its first use. None: the catalog has no such port.
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub fn open(&self, target: &Target) -> io::Result<Option<Arc<Live>>> {
        let shared = &*self.shared;
        let mut all = lock(&shared.live);
        if let Some(live) = all.get(target) {
            return Ok(Some(live.clone()));
        }
        let Some((service, port)) = shared.find(target) else { return Ok(None) };
        let policy = shared.policy(&service);
        let mut publisher = ServicePublisher::new(Setup {
            name: target.to_string(),
            policy: policy.clone(),
            here: (**shared.here.load()).clone(),
            memory: Memory::Shared,
            endpoints: selected(&port, target, &policy),
            now: clock::now(),
        })?;
        if let Some(standings) = lock(&shared.remembered).remove(target) {
            publisher.remember(&standings, clock::now());
        }
        let seed = shared.seed.wrapping_add(all.len() as u32);
        let live = Live::new(
            target.clone(),
            publisher,
            service.stale,
            seed,
            shared.wake_up.waker().clone(),
        )?;
        let live = Arc::new(live);
        all.insert(target.clone(), live.clone());
        drop(all);
        shared.wake_up.ring();
        Ok(Some(live))
    }

    /// Takes over what an earlier agent had judged, for tables opened from now on.
    pub fn remember(&self, judgements: Judgements) {
        *lock(&self.shared.remembered) = judgements;
        self.shared.judged.send_modify(|changes| *changes += 1);
    }

    /// What must outlive this agent: who is put aside, and how often.
    pub fn judgements(&self) -> Judgements {
        let live = self.all();
        let mut judgements = lock(&self.shared.remembered).clone();
        judgements.extend(live.iter().map(|live| (live.target().clone(), live.standings())));
        judgements.retain(|_, standings| !standings.is_empty());
        judgements
    }

    /// A number that grows with every change of [`Self::judgements`], to wait for.
    pub fn judged(&self) -> watch::Receiver<u64> {
        self.shared.judged.subscribe()
    }

    /// What was configured of services' policies.
    pub fn policies(&self) -> Arc<ConfigPolicies> {
        self.shared.policies.load_full()
    }

    /// Configures them anew; live tables follow at once.
    pub fn configure(&self, policies: ConfigPolicies) {
        self.shared.policies.store(Arc::new(policies));
        self.decide_all_anew();
    }

    /// Where this agent runs.
    pub fn here(&self) -> Arc<Here> {
        self.shared.here.load_full()
    }

    /// This agent runs there, as it turned out; live tables follow at once.
    pub fn locate(&self, here: Here) {
        self.shared.here.store(Arc::new(here));
        self.decide_all_anew();
    }

    fn decide_all_anew(&self) {
        let services = self.all().into_iter().map(|live| live.target().service.clone());
        lock(&self.shared.changed).extend(services);
        self.shared.wake_up.ring();
    }

    /// Gives up the table of a target in which nothing is in flight; whether it is gone.
    pub fn close(&self, target: &Target) -> bool {
        let mut all = lock(&self.shared.live);
        let unused = all.get(target).is_none_or(|live| live.publisher().is_asleep());
        if unused {
            all.remove(target);
        }
        unused
    }

    /// Every live table.
    pub fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.shared.live).values().cloned().collect()
    }

    /// What metrics show of the publishing thread.
    pub fn numbers(&self) -> &Numbers {
        &self.shared.numbers
    }

    /// Stops the publishing thread and waits for it.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.wake_up.ring();
        if let Some(thread) = lock(&self.shared.thread).take()
            && thread.join().is_err()
        {
            error!("the publishing thread panicked");
        }
    }
}

impl Shared {
    fn find(&self, target: &Target) -> Option<(Arc<Service>, Port)> {
        let service = self.catalog.get(&target.service)?;
        let port = service
            .ports
            .iter()
            .find(|port| (&port.name, &port.number) == (&target.port.0, &target.port.1))?
            .clone();
        Some((service, port))
    }

    fn policy(&self, service: &Service) -> Arc<Policy> {
        Arc::new(resolve(&self.policies.load(), service).policy)
    }

    /// Takes services that have changed over into their live tables.
    fn take_changes_over(&self) {
        let changed = std::mem::take(&mut *lock(&self.changed));
        if !changed.is_empty() {
            self.update(&changed);
        }
    }

    fn update(&self, changed: &HashSet<ServiceName>) {
        let affected: Vec<Arc<Live>> = lock(&self.live)
            .values()
            .filter(|live| changed.contains(&live.target().service))
            .cloned()
            .collect();
        let here = self.here.load_full();
        for live in affected {
            // Under the lock, so that a service that comes back meanwhile is not left without.
            let found = {
                let mut all = lock(&self.live);
                let found = self.find(live.target());
                if found.is_none() {
                    all.remove(live.target());
                }
                found
            };
            let updated = match found {
                Some((service, port)) => {
                    let policy = self.policy(&service);
                    let endpoints = selected(&port, live.target(), &policy);
                    live.update(endpoints, Some(policy), &here, service.stale)
                }
                None => live.update(Vec::new(), None, &here, false),
            };
            if let Err(error) = updated {
                error!(service = %live.target(), %error, "kept the endpoints before");
            }
        }
    }
}

fn selected(port: &Port, target: &Target, policy: &Policy) -> Vec<EndpointRef> {
    if target.way == Way::VirtualIp {
        return virtual_ip(port, policy);
    }
    EndpointRef::all(&port.endpoints)
        .filter(|e| target.selector.iter().all(|(key, value)| e.labels.get(key) == Some(value)))
        .collect()
}

/// The virtual IP of a service at this port of it.
fn virtual_ip(port: &Port, policy: &Policy) -> Vec<EndpointRef> {
    let (Some(ip), Some(number)) = (policy.virtual_ip, port.number) else { return Vec::new() };
    let endpoint = Endpoint::at(SocketAddr::new(ip, number));
    EndpointRef::all(&[endpoint].into()).collect()
}

/// The thread's own state.
struct Cycle {
    shared: Arc<Shared>,
    /// How long a cycle takes, smoothed.
    cost: Duration,
    can_sleep: bool,
}

impl Cycle {
    fn new(shared: Arc<Shared>) -> Self {
        let can_sleep = wake::probe_barrier().inspect_err(|error| {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
        });
        Self { shared, cost: Duration::ZERO, can_sleep: can_sleep.is_ok() }
    }

    fn run(mut self) {
        let mut next = clock::now();
        while !self.shared.stopping.load(Relaxed) {
            self.shared.take_changes_over();
            let live: Vec<Arc<Live>> = lock(&self.shared.live).values().cloned().collect();
            let awake = self.cycle(&live);
            let woken;
            if awake {
                next += self.period();
                let now = clock::now();
                if next < now {
                    self.shared.numbers.overruns.fetch_add(1, Relaxed);
                    next = now;
                }
                woken = true;
                self.wait_for_cycle(next);
            } else {
                self.shared.numbers.period_ns.store(0, Relaxed);
                woken = self.sleep(&live);
                next = clock::now();
            }
            self.get_up(&live, woken);
        }
    }

    /// One publication of every table that is awake; whether any still is.
    fn cycle(&mut self, live: &[Arc<Live>]) -> bool {
        let start = clock::now();
        let period = self.period();
        let mut wanted = period::LONGEST;
        let mut idle = Vec::new();
        let mut lost = Vec::new();
        let mut awake = false;
        let mut judged = false;
        for each in live {
            let mut publisher = each.publisher();
            if publisher.is_asleep() {
                continue;
            }
            let before = publisher.plan().clone();
            let pass = publisher.pass(start, period);
            lost.extend(pass.lost.into_iter().map(|address| (each.target(), address)));
            if publisher.plan().version != before.version {
                each.show(&publisher);
                judged |= !publisher.plan().standings().eq(before.standings());
            }
            if publisher.is_idle() {
                idle.push(each);
            } else {
                awake = true;
                wanted = wanted.min(publisher.wanted_period());
            }
        }
        if judged {
            self.shared.judged.send_modify(|changes| *changes += 1);
        }
        for (target, address) in lost {
            self.shared.catalog.connection_failed(&target.service, address, start);
        }
        self.shared.numbers.passes.fetch_add(1, Relaxed);
        let cost = clock::now().saturating_sub(start);
        // An eighth of each new cycle: a single preempted one should not stretch the period.
        self.cost = (self.cost * 7 + cost) / 8;
        let period = period::affordable(wanted, self.cost, period);
        self.shared.numbers.period_ns.store(period.as_nanos() as u64, Relaxed);
        self.lie_down(&idle) || awake
    }

    fn period(&self) -> Duration {
        let period = Duration::from_nanos(self.shared.numbers.period_ns.load(Relaxed));
        period.max(period::SHORTEST)
    }

    /// Lets idle tables sleep, all behind one barrier; whether one of them moved after all.
    fn lie_down(&mut self, idle: &[&Arc<Live>]) -> bool {
        if idle.is_empty() {
            return false;
        }
        idle.iter().for_each(|live| live.publisher().lie_down());
        if self.can_sleep
            && let Err(error) = wake::barrier()
        {
            warn!(%error, "polling every {POLL_WITHOUT_BARRIER:?} instead of sleeping");
            self.can_sleep = false;
        }
        let mut moved = false;
        for live in idle {
            let mut publisher = live.publisher();
            if publisher.stirred() {
                publisher.get_up();
                moved = true;
            }
        }
        moved
    }

    /// Waits for a message, or for time to change a plan; false if neither came before the
    /// backstop.
    fn sleep(&self, live: &[Arc<Live>]) -> bool {
        let now = clock::now();
        let backstop = if self.can_sleep { BACKSTOP } else { POLL_WITHOUT_BARRIER };
        let change = live.iter().filter_map(|l| l.publisher().next_change()).min();
        let until_change = change.map(|at| at.saturating_sub(now));
        let timeout = until_change.map_or(backstop, |until| until.min(backstop));
        let heard = Bell::wait_for([&self.shared.wake_up, &self.shared.told], timeout);
        heard || until_change.is_some_and(|until| until <= timeout)
    }

    /// Wakes the tables whose counters moved or whose plan is due.
    fn get_up(&self, live: &[Arc<Live>], woken: bool) {
        let now = clock::now();
        for each in live {
            let mut publisher = each.publisher();
            if !publisher.is_asleep() {
                continue;
            }
            let stirred = publisher.stirred();
            if stirred && !woken && self.can_sleep {
                self.shared.numbers.late_wakeups.fetch_add(1, Relaxed);
                warn!(service = %each.target(), "a caller's wake-up message got lost");
            }
            if stirred || publisher.next_change().is_some_and(|at| at <= now) {
                publisher.get_up();
            }
        }
    }

    /// Waits until then. Messages of callers don't end that: the next cycle comes soon enough. It does
    /// not for changed services, where the period is long as there are many tables: those are not
    /// to be picked by what was before. However many change, the cycle is not put off by them.
    fn wait_for_cycle(&self, next: Duration) {
        while let Some(left) = next.checked_sub(clock::now()) {
            if !Bell::wait_for([&self.shared.told], left) {
                break;
            }
            self.shared.take_changes_over();
        }
        self.shared.wake_up.quiet();
    }
}
