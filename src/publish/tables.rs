//! The live tables, and all that other threads may ask of the publishing thread.

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};

use tokio::sync::watch;
use tracing::error;

use super::{
    cycle::Cycle,
    segment::Memory,
    service::{ServicePublisher, Setup},
    service_table::ServiceTable,
    shared::{Judgements, Numbers, Shared, is_shortage, lock, selected},
    target::Target,
};
use crate::{
    catalog::{Catalog, Locality},
    clock,
    identity::Pods,
    policy::ConfigPolicies,
};

/// A handle to the live tables; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tables {
    shared: Arc<Shared>,
    /// The publishing thread; None after [`Tables::stop`] has joined it.
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Tables {
    /// Starts the publishing thread over this catalog. All picks derive from `seed`.
    ///
    /// # Errors
    /// The system gives no thread or no event descriptor.
    pub fn start(
        catalog: Arc<Catalog>,
        policies: ConfigPolicies,
        locality: Locality,
        seed: u32,
    ) -> io::Result<Self> {
        let shared = Shared::new(catalog.clone(), policies, locality, seed)?;
        let weak = Arc::downgrade(&shared);
        catalog.on_change(Box::new(move |services| {
            if let Some(shared) = weak.upgrade() {
                shared.tell(services);
            }
        }));
        let cycle = Cycle::new(shared.clone(), Box::new(clock::thread_time));
        let thread =
            std::thread::Builder::new().name("publish".into()).spawn(move || cycle.run())?;
        Ok(Self { thread: Arc::new(Mutex::new(Some(thread))), ..Self::over(shared) })
    }

    /// Makes no thread: the caller publishes.
    pub(super) fn over(shared: Arc<Shared>) -> Self {
        Self { shared, thread: Arc::default() }
    }

    /// The live table of a target, made at its first use. None: the catalog has no such port.
    ///
    /// # Errors
    /// The system gives no shared memory, even after unused tables were given up.
    pub fn open(&self, target: &Target) -> io::Result<Option<Arc<ServiceTable>>> {
        match self.find_or_make(target) {
            Err(error) if is_shortage(&error) && self.shared.give_up_unused() => {
                self.find_or_make(target)
            }
            made => made,
        }
    }

    fn find_or_make(&self, target: &Target) -> io::Result<Option<Arc<ServiceTable>>> {
        let shared = &*self.shared;
        let mut all = lock(&shared.live);
        if let Some(live) = all.get(target) {
            return Ok(Some(live.clone()));
        }
        let Some((service, port)) = shared.find(target) else { return Ok(None) };
        let policy = shared.policy(&service, target);
        let mut publisher = ServicePublisher::new(Setup {
            name: target.to_string(),
            policy: policy.clone(),
            locality: (**shared.locality.load()).clone(),
            memory: Memory::Shared,
            endpoints: selected(&port, target, &policy),
            virtual_port: target.virtual_port(),
            now: clock::now(),
        })?;
        if let Some(standings) = lock(&shared.remembered).remove(target) {
            publisher.remember(&standings, clock::now());
        }
        let seed = shared.seed.wrapping_add(all.len() as u32);
        let id = shared.tables_made.fetch_add(1, Relaxed);
        let waker = shared.wakeups.waker(id);
        let live = Arc::new(ServiceTable::new(
            id,
            target.clone(),
            publisher,
            service.stale,
            seed,
            waker,
            shared.allowance.clone(),
        )?);
        all.insert(target.clone(), live.clone());
        shared.open(&live);
        Ok(Some(live))
    }

    /// Sets the names of pods for the log. Until then the log has their uids.
    pub fn call_pods(&self, pods: Arc<Pods>) {
        self.shared.allowance.call_pods(pods);
    }

    /// Takes over the judgements of an earlier agent, for tables opened from now on.
    pub fn remember(&self, judgements: Judgements) {
        *lock(&self.shared.remembered) = judgements;
        self.shared.judge();
    }

    /// The judgements that must outlive this agent: which endpoints are ejected, and how often they
    /// were.
    pub fn judgements(&self) -> Judgements {
        let live = self.all();
        let mut judgements = lock(&self.shared.remembered).clone();
        judgements.extend(live.iter().map(|live| (live.target().clone(), live.standings())));
        judgements.retain(|_, standings| !standings.is_empty());
        judgements
    }

    /// A counter of the changes of [`Self::judgements`], to wait for.
    pub fn judged(&self) -> watch::Receiver<u64> {
        self.shared.judged.subscribe()
    }

    /// The configured policies of services.
    pub fn policies(&self) -> Arc<ConfigPolicies> {
        self.shared.policies.load_full()
    }

    /// Replaces the configured policies. Live tables follow at once.
    pub fn configure(&self, policies: ConfigPolicies) {
        self.shared.policies.store(Arc::new(policies));
        self.shared.decide_all_anew();
        self.shared.configured.send_modify(|times| *times += 1);
    }

    /// A counter of the changes of [`Self::policies`], to wait for.
    pub fn configured(&self) -> watch::Receiver<u64> {
        self.shared.configured.subscribe()
    }

    /// The locality of this agent.
    pub fn locality(&self) -> Arc<Locality> {
        self.shared.locality.load_full()
    }

    /// Sets the locality of this agent. Live tables follow at once.
    pub fn locate(&self, locality: Locality) {
        self.shared.locality.store(Arc::new(locality));
        self.shared.decide_all_anew();
    }

    /// Gives up the table of a target if nothing is in flight in it. Returns whether it is gone.
    /// Its ejections are remembered, unless the target has a label selector.
    pub fn close(&self, target: &Target) -> bool {
        let mut all = lock(&self.shared.live);
        let unused = all.get(target).is_none_or(|live| live.publisher().is_unused());
        if unused {
            self.shared.give_up(&mut all, target);
        }
        unused
    }

    pub fn is_open(&self, target: &Target) -> bool {
        lock(&self.shared.live).contains_key(target)
    }

    /// The number of endpoints at the port of a target.
    pub fn endpoints_of(&self, target: &Target) -> usize {
        self.shared.find(target).map_or(0, |(_, port)| port.endpoints.len())
    }

    pub fn all(&self) -> Vec<Arc<ServiceTable>> {
        self.shared.all()
    }

    pub fn numbers(&self) -> &Numbers {
        &self.shared.numbers
    }

    /// Stops the publishing thread and waits for it.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.changed_event.signal();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            error!("the publishing thread panicked");
        }
    }
}
