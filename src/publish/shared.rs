//! The state that the publishing thread shares with all that ask for tables: the live tables,
//! and all that they are made from.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64},
    },
};

use arc_swap::ArcSwap;
use rustix::io::Errno;
use tokio::sync::watch;
use tracing::error;

use super::{
    service_table::ServiceTable,
    target::{Target, TargetKind},
    verdicts::Allowance,
    wake_event::WakeEvent,
    wakeup::{TableId, Wakeups},
};
use crate::{
    catalog::{Catalog, Endpoint, EndpointRef, Locality, Port, Service, ServiceName},
    plan::OutlierState,
    policy::{ConfigPolicies, Policy, ZoneMode, resolve},
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) catalog: Arc<Catalog>,
    pub(super) policies: ArcSwap<ConfigPolicies>,
    /// The number of times that policies were configured.
    pub(super) configured: watch::Sender<u64>,
    pub(super) locality: ArcSwap<Locality>,
    pub(super) seed: u32,
    /// The judgements of an earlier agent on targets without a table so far.
    pub(super) remembered: Mutex<Judgements>,
    /// The number of changes of the judgements.
    pub(super) judged: watch::Sender<u64>,
    /// The live tables. Other owners hold one only during a call, so a table that is removed here
    /// frees its memory and its file.
    pub(super) live: Mutex<HashMap<Target, Arc<ServiceTable>>>,
    pub(super) changed: Mutex<HashSet<ServiceName>>,
    /// Tables that the publishing thread has not taken in yet.
    opened: Mutex<Vec<Weak<ServiceTable>>>,
    /// Tables that the publishing thread has not forgotten yet.
    closed: Mutex<Vec<TableId>>,
    pub(super) tables_made: AtomicU64,
    /// Changed services that could not be taken over for lack of memory.
    failed: Mutex<HashSet<ServiceName>>,
    pub(super) stopping: AtomicBool,
    pub(super) wakeups: Arc<Wakeups>,
    /// Signals the thread that services have changed, tables were opened, or it has to stop.
    pub(super) changed_event: WakeEvent,
    pub(super) numbers: Numbers,
    /// The quota of verdicts on single callers.
    pub(super) allowance: Arc<Allowance>,
}

/// The outlier states of endpoints, by target and address.
pub type Judgements = HashMap<Target, HashMap<SocketAddr, OutlierState>>;

/// The metrics of the publishing thread.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Publications, each of one table.
    pub passes: AtomicU64,
    /// The shortest period of a table, in nanoseconds; 0 while all tables sleep.
    pub period_ns: AtomicU64,
    /// Publications that were late by more than their period.
    pub overruns: AtomicU64,
    /// Activity without a wake-up, which only the sweep of sleeping tables found.
    pub late_wakeups: AtomicU64,
}

/// Whether the system lacks what a table needs: files or memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(error, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        catalog: Arc<Catalog>,
        policies: ConfigPolicies,
        locality: Locality,
        seed: u32,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            catalog,
            policies: ArcSwap::from_pointee(policies),
            configured: watch::Sender::new(0),
            locality: ArcSwap::from_pointee(locality),
            seed,
            remembered: Mutex::default(),
            judged: watch::Sender::new(0),
            live: Mutex::default(),
            changed: Mutex::default(),
            opened: Mutex::default(),
            closed: Mutex::default(),
            tables_made: AtomicU64::new(0),
            failed: Mutex::default(),
            stopping: AtomicBool::new(false),
            wakeups: Wakeups::new(WakeEvent::new()?),
            changed_event: WakeEvent::new()?,
            numbers: Numbers::default(),
            allowance: Arc::default(),
        }))
    }

    pub(super) fn all(&self) -> Vec<Arc<ServiceTable>> {
        lock(&self.live).values().cloned().collect()
    }

    /// Has the thread take over changed services at once.
    pub(super) fn tell(&self, services: &[ServiceName]) {
        lock(&self.changed).extend(services.iter().cloned());
        self.changed_event.signal();
    }

    /// Has the thread plan all live tables anew.
    pub(super) fn decide_all_anew(&self) {
        let services = self.all().into_iter().map(|live| live.target().service.clone());
        lock(&self.changed).extend(services);
        self.changed_event.signal();
    }

    /// Has the thread publish this table from now on.
    pub(super) fn open(&self, live: &Arc<ServiceTable>) {
        lock(&self.opened).push(Arc::downgrade(live));
        self.changed_event.signal();
    }

    pub(super) fn take_opened(&self) -> Vec<Arc<ServiceTable>> {
        let opened = std::mem::take(&mut *lock(&self.opened));
        opened.iter().filter_map(Weak::upgrade).collect()
    }

    /// Closes a table whose service goes on. Its ejections are remembered, unless the target has a
    /// label selector.
    pub(super) fn give_up(&self, all: &mut HashMap<Target, Arc<ServiceTable>>, target: &Target) {
        let Some(gone) = all.remove(target) else { return };
        let standings = gone.standings();
        if target.selector.is_empty() && !standings.is_empty() {
            lock(&self.remembered).insert(target.clone(), standings);
        }
        self.close(&gone);
    }

    /// Ends the publication of a table.
    pub(super) fn close(&self, live: &ServiceTable) {
        lock(&self.closed).push(live.id());
    }

    pub(super) fn take_closed(&self) -> Vec<TableId> {
        std::mem::take(&mut *lock(&self.closed))
    }

    /// Marks the services that failed for lack of memory as changed again.
    pub(super) fn try_again(&self) {
        let failed = std::mem::take(&mut *lock(&self.failed));
        if !failed.is_empty() {
            lock(&self.changed).extend(failed);
            self.changed_event.signal();
        }
    }

    /// Counts a change of the judgements.
    pub(super) fn judge(&self) {
        self.judged.send_modify(|changes| *changes += 1);
    }

    pub(super) fn find(&self, target: &Target) -> Option<(Arc<Service>, Port)> {
        let service = self.catalog.get(&target.service)?;
        let port = service
            .ports
            .iter()
            .find(|port| (&port.name, &port.number) == (&target.port.0, &target.port.1))?
            .clone();
        Some((service, port))
    }

    /// The policy of a target. A virtual IP is in no zone and is the only endpoint of its target,
    /// so zones are off for it. It can't be reached at a port without a number.
    pub(super) fn policy(&self, service: &Service, target: &Target) -> Arc<Policy> {
        let mut policy = resolve(&self.policies.load(), service).policy;
        if target.way == TargetKind::VirtualIp {
            policy.zone = ZoneMode::Off;
        }
        if target.port.1.is_none() {
            policy.virtual_ip = None;
        }
        Arc::new(policy)
    }

    /// Takes changed services over into their live tables. Returns those tables.
    pub(super) fn take_changes_over(&self) -> Vec<TableId> {
        let changed = std::mem::take(&mut *lock(&self.changed));
        if changed.is_empty() { Vec::new() } else { self.update(&changed) }
    }

    fn update(&self, changed: &HashSet<ServiceName>) -> Vec<TableId> {
        let affected: Vec<Arc<ServiceTable>> = lock(&self.live)
            .values()
            .filter(|live| changed.contains(&live.target().service))
            .cloned()
            .collect();
        let locality = self.locality.load_full();
        for live in &affected {
            // The lock covers the search and the removal: otherwise a service that comes back in
            // between would be left without a table.
            let found = {
                let mut all = lock(&self.live);
                let found = self.find(live.target());
                if found.is_none()
                    && let Some(gone) = all.remove(live.target())
                {
                    self.close(&gone);
                }
                found
            };
            let updated = match found {
                Some((service, port)) => {
                    let policy = self.policy(&service, live.target());
                    let endpoints = selected(&port, live.target(), &policy);
                    live.update(endpoints, Some(policy), &locality, service.stale)
                }
                None => live.update(Vec::new(), None, &locality, false),
            };
            if let Err(error) = updated {
                error!(
                    service = %live.target(),
                    %error,
                    "the endpoints could not be updated: keeps the previous ones and tries again"
                );
                lock(&self.failed).insert(live.target().service.clone());
                if is_shortage(&error) {
                    self.give_up_unused();
                }
            }
        }
        affected.iter().map(|live| live.id()).collect()
    }
}

pub(super) fn selected(port: &Port, target: &Target, policy: &Policy) -> Vec<EndpointRef> {
    if target.way == TargetKind::VirtualIp {
        return virtual_ip(port, policy);
    }
    EndpointRef::all(&port.endpoints)
        .filter(|e| target.selector.iter().all(|(key, value)| e.labels.get(key) == Some(value)))
        .collect()
}

/// The virtual IP of a service at one of its ports.
fn virtual_ip(port: &Port, policy: &Policy) -> Vec<EndpointRef> {
    let (Some(ip), Some(number)) = (policy.virtual_ip, port.number) else { return Vec::new() };
    let endpoint = Endpoint::at(SocketAddr::new(ip, number));
    EndpointRef::all(&[endpoint].into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_files_or_memory_is_a_shortage_and_no_other_error_is() {
        let is = |errno: Errno| is_shortage(&errno.into());
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::NOMEM));
        assert!(!is(Errno::PERM) && !is_shortage(&io::Error::other("another")));
    }
}
