//! The table of a target, as the socket uses it: picks, and their explanation.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use pointsman_table::Waker;

use super::{
    callers::{Callers, InFlightGuard, PickedEndpoints},
    explanation::{Avoided, EndpointStatus, Explanation, NoEndpoint, cells, why_none},
    pick_options::PickOptions,
    pick_state::PickState,
    routing::Routing,
    service::ServicePublisher,
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
    /// A pick had a key to hash by.
    keyed: AtomicBool,
}

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
        locality: &Locality,
        stale: bool,
    ) -> io::Result<()> {
        let mut publisher = self.publisher();
        publisher.locate(locality.clone());
        let policy = policy.unwrap_or_else(|| publisher.policy().clone());
        let callers = self.callers.load_full();
        let mut state = callers.lock();
        publisher.update(endpoints, policy, clock::now())?;
        self.show_to(&mut state, &mut publisher, stale)?;
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
        let mut state = callers.lock();
        let stale = state.stale;
        self.show_to(&mut state, publisher, stale)
    }

    fn show_to(
        &self,
        state: &mut PickState,
        publisher: &mut ServicePublisher,
        stale: bool,
    ) -> io::Result<()> {
        if state.pick_from(&publisher.table()) {
            state.learn(publisher);
            state.stale = stale;
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

    /// Picks endpoints by the mode of the service, and counts the first one in flight. A service with no
    /// `virtual_ip` is balanced whatever its mode.
    ///
    /// # Errors
    /// No endpoint can serve; the error gives the reasons. Or `virtual_ip` fails.
    pub fn pick<E: From<NoEndpoint>>(
        &self,
        want: &PickOptions<'_>,
        virtual_ip: impl FnOnce() -> Result<Option<Arc<Self>>, E>,
    ) -> Result<PickedEndpoints, E> {
        let routing = self.routing(want.key);
        if routing == Routing::Balanced {
            return Ok(self.pick_endpoints(want)?);
        }
        let Some(virtual_ip) = virtual_ip()? else { return Ok(self.pick_endpoints(want)?) };
        if routing == Routing::Shadow {
            // The pick is made for comparison, counted, and dropped.
            drop(self.pick_endpoints(want));
        }
        // The virtual IP can't be excluded: a retry may reach another endpoint.
        let picked = virtual_ip.pick_endpoints(&PickOptions { exclude: &[], ..*want })?;
        Ok(PickedEndpoints { routing, ..picked })
    }

    /// Where the next request goes. All requests of one key go the same way.
    pub(super) fn routing(&self, key: Option<&[u8]>) -> Routing {
        // A virtual IP stands for all endpoints, so that it can't serve a label selector.
        if !self.target.selector.is_empty() {
            return Routing::Balanced;
        }
        Routing::draw(**self.mode.load(), key)
    }

    /// Picks endpoints of this table, and counts the first one in flight.
    ///
    /// # Errors
    /// No endpoint can serve; the error gives the reasons.
    pub fn pick_endpoints(&self, want: &PickOptions<'_>) -> Result<PickedEndpoints, NoEndpoint> {
        if want.key.is_some() && !self.keyed.load(Relaxed) {
            self.keyed.store(true, Relaxed);
        }
        let picked = self.callers.load().pick(want);
        if picked.picks.is_empty() {
            return Err(self.none(want));
        }
        Ok(picked)
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
