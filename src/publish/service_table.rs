//! The table of a target, as the socket uses it: picks, and their explanation.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use pointsman_table::Waker;
use rand::RngExt;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    ServicePublisher,
    callers::{Callers, InFlightGuard, PickState},
    explanation::{Avoided, EndpointStatus, Explanation, NoEndpoint, cells, why_none},
    share::Users,
    target::Target,
    verdicts::Allowance,
    wakeup::TableId,
};
use crate::{
    catalog::{EndpointRef, Locality},
    clock,
    identity::Identity,
    plan::OutlierState,
    policy::{Mode, Policy},
};

/// The wishes of one pick.
#[derive(Clone, Copy, Debug)]
pub struct PickOptions<'a> {
    pub exclude: &'a [SocketAddr],
    /// The key to hash by.
    pub key: Option<&'a [u8]>,
    /// The number of distinct endpoints, at least 1. A pick gets fewer if there are no more.
    pub count: u32,
    /// The cost of the request, at least 1.
    pub cost: u32,
    /// The identity on whose behalf the caller picks.
    pub caller: Identity,
}

/// The endpoints of one pick; [`ServiceTable::pick`] returns at least one.
#[derive(Debug)]
pub struct PickedEndpoints {
    /// The first is in flight, the others from [`InFlightGuard::start`] on.
    pub picks: SmallVec<[InFlightGuard; 1]>,
    /// How many of them are in another zone than this node, as far as both zones are known.
    pub elsewhere: u64,
    /// The version of the plan.
    pub plan: u64,
    /// The source has not confirmed the endpoints for over ten minutes.
    pub stale: bool,
}

/// The table of a target.
#[derive(Debug)]
pub struct ServiceTable {
    id: TableId,
    target: Target,
    seed: u32,
    waker: Waker,
    allowance: Arc<Allowance>,
    publisher: Mutex<ServicePublisher>,
    callers: ArcSwap<Callers>,
    mode: ArcSwap<Mode>,
    /// Written by the publisher: microseconds, 0 before any request was timed.
    service_time_us: Arc<AtomicU64>,
    /// A pick had a key to hash by.
    keyed: AtomicBool,
}

/// The assumed service time before any request was timed. Most calls within a cluster take between
/// 1 ms and 1 s: a guess in the middle is wrong by a factor of ten at most.
const UNTIMED: Duration = Duration::from_millis(100);
/// The bounds of the assumed service time, for callers that do not report the end of a request.
/// Less than a publishing period would be over before other callers see it. More is a stream rather
/// than a request.
const ASSUMED: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

/// Where a request goes, by the mode of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To an endpoint.
    Balanced,
    /// To the virtual IP.
    VirtualIp,
    /// To the virtual IP, too. An endpoint is picked as well, to show which it would be.
    Shadow,
}

/// A seed of its own makes the choice of the balanced keys independent of the endpoints that those
/// keys hash to.
const MODE_SEED: u64 = 0x6d6f_6465;

impl ServiceTable {
    /// Attaches the callers of the socket at once. `waker` wakes the publishing thread for this
    /// table.
    pub(super) fn new(
        id: TableId,
        target: Target,
        mut publisher: ServicePublisher,
        stale: bool,
        seed: u32,
        waker: Waker,
        allowance: Arc<Allowance>,
    ) -> io::Result<Self> {
        let callers = Callers::attach(&target, &mut publisher, seed, &waker, stale, &allowance)?;
        let mode = publisher.policy().mode_in_force();
        Ok(Self {
            id,
            target,
            seed,
            waker,
            service_time_us: publisher.service_time_us(),
            keyed: AtomicBool::new(false),
            allowance,
            publisher: Mutex::new(publisher),
            callers: ArcSwap::new(callers),
            mode: ArcSwap::from_pointee(mode),
        })
    }

    pub(super) fn id(&self) -> TableId {
        self.id
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn publisher(&self) -> MutexGuard<'_, ServicePublisher> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over new endpoints and settings. Callers see them together with the generation that
    /// names their slots.
    pub(super) fn update(
        &self,
        endpoints: Vec<EndpointRef>,
        policy: Option<Arc<Policy>>,
        here: &Locality,
        stale: bool,
    ) -> io::Result<()> {
        let mut publisher = self.publisher();
        publisher.locate(here.clone());
        let policy = policy.unwrap_or_else(|| publisher.policy().clone());
        let callers = self.callers.load_full();
        let mut counting = callers.lock();
        publisher.update(endpoints, policy, clock::now())?;
        self.show_to(&mut counting, &mut publisher, stale)?;
        self.mode.store(Arc::new(publisher.policy().mode_in_force()));
        Ok(())
    }

    /// Shows callers what the publisher decided by itself.
    ///
    /// # Errors
    /// The system gives no shared memory for the counters of a larger table. The callers then stay
    /// in the table before.
    pub(super) fn show(&self, publisher: &mut ServicePublisher) -> io::Result<()> {
        let callers = self.callers.load_full();
        let mut counting = callers.lock();
        let stale = counting.stale;
        self.show_to(&mut counting, publisher, stale)
    }

    fn show_to(
        &self,
        counting: &mut PickState,
        publisher: &mut ServicePublisher,
        stale: bool,
    ) -> io::Result<()> {
        if counting.pick_from(&publisher.table()) {
            counting.learn(publisher);
            counting.stale = stale;
            return Ok(());
        }
        let callers = Callers::attach(
            &self.target,
            publisher,
            self.seed,
            &self.waker,
            stale,
            &self.allowance,
        )?;
        self.callers.store(callers);
        Ok(())
    }

    /// Where the next request goes. All requests of one key go the same way.
    pub fn course(&self, key: Option<&[u8]>) -> Routing {
        match **self.mode.load() {
            Mode::On => Routing::Balanced,
            Mode::Off => Routing::VirtualIp,
            Mode::Shadow => Routing::Shadow,
            Mode::Percent(share) => {
                let drawn = match key {
                    Some(key) => xxh3_64_with_seed(key, MODE_SEED) % 100,
                    None => rand::rng().random_range(0..100),
                };
                if drawn < u64::from(share) { Routing::Balanced } else { Routing::VirtualIp }
            }
        }
    }

    /// Picks endpoints, and counts the first one in flight.
    ///
    /// # Errors
    /// No endpoint can serve; the error gives the reasons.
    pub fn pick(&self, want: &PickOptions<'_>) -> Result<PickedEndpoints, NoEndpoint> {
        if want.key.is_some() && !self.keyed.load(Relaxed) {
            self.keyed.store(true, Relaxed);
        }
        let picked = self.callers.load().pick(want);
        if picked.picks.is_empty() {
            return Err(self.none(want));
        }
        Ok(picked)
    }

    /// The usual time of a request: the median of recent ones, or a guess before any was timed.
    pub fn usual_time(&self) -> Duration {
        match self.service_time_us.load(Relaxed) {
            0 => UNTIMED,
            us => Duration::from_micros(us).clamp(*ASSUMED.start(), *ASSUMED.end()),
        }
    }

    /// Whether a pick had a key to hash by.
    pub fn keyed(&self) -> bool {
        self.keyed.load(Relaxed)
    }

    /// The callers that picked since the last call.
    pub(super) fn take_users(&self) -> Users {
        std::mem::take(&mut self.callers.load().lock().users)
    }

    /// The number of the last publication.
    pub fn publication(&self) -> u32 {
        self.publisher().table().publication()
    }

    /// Counts a pick of an earlier agent; None if the endpoint is gone.
    pub fn adopt(
        &self,
        address: SocketAddr,
        cost: u32,
        in_flight: bool,
        caller: Identity,
    ) -> Option<InFlightGuard> {
        self.callers.load_full().adopt(address, cost, in_flight, caller)
    }

    /// The endpoints that single callers avoid, because their requests fail there and those of
    /// others do not.
    pub fn avoided(&self) -> Vec<Avoided> {
        let now = clock::now();
        let mut all: Vec<Avoided> = (self.callers.load().verdicts().into_iter())
            .map(|(view, address)| Avoided::new(&view, address, now))
            .collect();
        all.sort_by_key(|each| (each.caller, each.address));
        all
    }

    #[cold]
    fn none(&self, want: &PickOptions<'_>) -> NoEndpoint {
        let plan = self.publisher().plan().clone();
        NoEndpoint {
            target: self.target.to_string(),
            why: why_none(&plan, want.exclude),
            known: !plan.endpoints.is_empty(),
        }
    }

    /// The endpoints as this node sees them, in the order of the source.
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
                    standing: load.standing,
                    requests: recent.ended,
                    failures: recent.failed,
                    mean_latency: recent.mean_latency(),
                    total: load.total,
                }
            })
            .collect()
    }

    /// The outlier states of the endpoints, to be remembered.
    pub fn standings(&self) -> HashMap<SocketAddr, OutlierState> {
        self.publisher().plan().outlier_states().collect()
    }

    pub fn explain(&self) -> Explanation {
        let samples = self.callers.load().samples();
        let publisher = self.publisher();
        Explanation {
            target: self.target.clone(),
            plan: publisher.plan().clone(),
            policy: publisher.policy().clone(),
            cells: cells(&publisher),
            in_flight: publisher.loads().iter().map(|l| (l.in_flight, l.standing)).collect(),
            samples,
            retry_left: publisher.retries_left(clock::now()),
            period: if publisher.is_asleep() { Duration::ZERO } else { publisher.period() },
        }
    }
}
