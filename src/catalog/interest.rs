//! Which services callers on this node ask for.
//!
//! Callers and sources meet here, and neither knows the other. A lookup records its interest. A
//! source that answers on demand sees it, tells the service for as long as callers ask for it, and
//! records what it waits for meanwhile. A pick pays one load of a flag.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::watch;

use super::name::ServiceName;
use crate::{
    identity::Identity,
    quota::{Exhausted, Permit, Quota},
};

/// The most services asked for at a time. A node's programs call some dozens. If one program asks
/// for all services, the API server must not carry two watches for each. Range 100 to 10,000.
const MOST: usize = 2000;

/// The caller whose quota an interest counts against; None: the agent itself, for services of an
/// earlier run.
pub type Account = Option<Identity>;

/// The interest in one service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Interest(Arc<InterestState>);

#[derive(Debug, Default)]
struct InterestState {
    /// Renewed since the last check.
    lately: AtomicBool,
    /// No caller asks for the service: it stands in for another one.
    for_another: AtomicBool,
    /// What its source waits for.
    awaits: Mutex<Option<Arc<str>>>,
}

impl Interest {
    fn new() -> Self {
        let interest = Self(Arc::default());
        interest.renew();
        interest
    }

    /// Marks the interest as recent.
    pub fn renew(&self) {
        // The flag is usually set already. A needless store would take its cache line from the
        // other cores.
        if !self.0.lately.load(Relaxed) {
            self.0.lately.store(true, Relaxed);
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

type InUse = Box<dyn Fn(&ServiceName) -> bool + Send + Sync>;

/// The services that callers ask for.
pub struct Interests {
    asked: RwLock<HashMap<ServiceName, Entry>>,
    quota: Arc<Quota<Account>>,
    in_use: OnceLock<InUse>,
    changes: watch::Sender<u64>,
}

struct Entry {
    interest: Interest,
    by: Account,
    permit: Permit<Account>,
}

impl Default for Interests {
    fn default() -> Self {
        Self {
            asked: RwLock::default(),
            quota: Quota::new("followed services", MOST),
            in_use: OnceLock::new(),
            changes: watch::Sender::default(),
        }
    }
}

impl Interests {
    /// Records or renews the interest in a service.
    ///
    /// # Errors
    /// The interest is new, and the account's quota is used up.
    pub fn ask(&self, by: Account, name: &ServiceName) -> Result<(), Exhausted> {
        if self.renew(name) {
            return Ok(());
        }
        self.add(by, name, false)
    }

    /// Records an interest in a service that stands in for another one. It lasts as long as the interest in
    /// that one.
    ///
    /// # Errors
    /// The interest is new, and the account's quota is used up.
    pub(super) fn ask_for_another(&self, by: Account, name: &ServiceName) -> Result<(), Exhausted> {
        match self.get(name) {
            Some(_) => Ok(()),
            None => self.add(by, name, true),
        }
    }

    fn add(&self, by: Account, name: &ServiceName, for_another: bool) -> Result<(), Exhausted> {
        let permit = self.quota.take(by)?;
        let new = || {
            let interest = Interest::new();
            interest.0.for_another.store(for_another, Relaxed);
            Entry { interest, by, permit }
        };
        self.write().entry(name.clone()).or_insert_with(new).interest.renew();
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Makes an interest count as so many in its account's quota, as that in a service with many ports does.
    ///
    /// # Errors
    /// The account's quota is used up. The interest counts as before.
    pub fn weigh(&self, name: &ServiceName, weight: usize) -> Result<(), Exhausted> {
        match self.write().get_mut(name) {
            Some(entry) => entry.permit.resize(weight),
            None => Ok(()),
        }
    }

    /// Renews an interest, for a caller. Returns false if there is none.
    pub(super) fn renew(&self, name: &ServiceName) -> bool {
        let asked = self.read();
        let entry = asked.get(name);
        entry.inspect(|entry| entry.interest.renew()).is_some()
    }

    /// Whether callers have begun to ask for a service that stood in for another one.
    pub(super) fn has_callers_now(&self, name: &ServiceName) -> bool {
        let asked = self.read();
        let Some(Entry { interest: Interest(state), .. }) = asked.get(name) else { return false };
        state.for_another.load(Relaxed) && state.for_another.swap(false, Relaxed)
    }

    /// The interest in a service, to renew it without a lookup. None: no source answers on demand.
    pub fn get(&self, name: &ServiceName) -> Option<Interest> {
        self.read().get(name).map(|entry| entry.interest.clone())
    }

    /// The account that an interest of callers counts against. None: no caller asks for the service.
    pub(super) fn account(&self, name: &ServiceName) -> Option<Account> {
        let asked = self.read();
        let entry = asked.get(name).filter(|it| !it.interest.0.for_another.load(Relaxed));
        entry.map(|entry| entry.by)
    }

    /// Ends an interest. Returns true if there was one.
    pub(super) fn forget(&self, name: &ServiceName) -> bool {
        // There usually is none. Then readers need not wait for the lock.
        self.get(name).is_some() && self.write().remove(name).is_some()
    }

    /// Sets the function that tells whether requests to a service are open, which keeps the
    /// interest. Only the first call counts.
    pub fn keep_while(&self, in_use: impl Fn(&ServiceName) -> bool + Send + Sync + 'static) {
        self.in_use.set(Box::new(in_use)).ok();
    }

    /// Ends the interest in a service that nobody asked for since the last call, and that has no
    /// open request. Returns true if it ended.
    pub fn expire(&self, name: &ServiceName) -> bool {
        self.expire_unless(name, false)
    }

    /// The same. But where it stands in for a service that callers ask for, it is kept for that alone.
    pub(super) fn expire_unless(&self, name: &ServiceName, stands_in: bool) -> bool {
        let interest = self.get(name);
        let lately =
            interest.as_ref().is_some_and(|interest| interest.0.lately.swap(false, Relaxed));
        if lately || self.in_use.get().is_some_and(|in_use| in_use(name)) {
            return false;
        }
        match interest {
            Some(Interest(state)) if stands_in => {
                state.for_another.store(true, Relaxed);
                false
            }
            _ => {
                self.forget(name);
                true
            }
        }
    }

    /// Whether this is the current interest in a service; a later one may have replaced it.
    pub(super) fn holds(&self, name: &ServiceName, interest: &Interest) -> bool {
        self.read().get(name).is_some_and(|entry| entry.interest.is(interest))
    }

    /// Records what the source of a service waits for, for callers that wait for the source.
    pub fn awaits(&self, name: &ServiceName, what: impl Into<Arc<str>>) {
        if let Some(interest) = self.get(name) {
            *interest.0.awaits.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.into());
        }
    }

    /// What the source of a service waits for, if it recorded that.
    pub(super) fn awaited(&self, name: &ServiceName) -> Option<Arc<str>> {
        self.get(name)?.0.awaits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The services asked for, in no order.
    pub fn all(&self) -> Vec<ServiceName> {
        self.read().keys().cloned().collect()
    }

    /// How many interests each account has.
    pub fn quota(&self) -> &Quota<Account> {
        &self.quota
    }

    /// A counter to wait on. It grows with every new interest.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ServiceName, Entry>> {
        self.asked.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ServiceName, Entry>> {
        self.asked.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Interests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interests").field("asked", &self.read().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_ends_when_nobody_asked_between_two_looks() {
        let interests = Interests::default();
        let cart: ServiceName = "cart.shop".parse().unwrap();
        interests.ask(None, &cart).unwrap();
        let kept = interests.get(&cart).unwrap();
        assert!(!interests.expire(&cart), "it was just asked for");
        kept.renew();
        assert!(!interests.expire(&cart), "a pick that looked nothing up counts");
        assert!(interests.expire(&cart));
        assert!(interests.get(&cart).is_none());
        assert!(interests.expire(&cart), "what nobody asked for needs no answer");
    }

    #[test]
    fn only_what_is_new_is_told() {
        let interests = Interests::default();
        let changes = interests.changes();
        let cart: ServiceName = "cart.shop".parse().unwrap();
        interests.ask(None, &cart).unwrap();
        interests.ask(None, &cart).unwrap();
        assert_eq!(*changes.borrow(), 1);
        assert_eq!(interests.all(), [cart]);
    }

    #[test]
    fn a_service_to_which_requests_are_open_is_not_let_go() {
        let interests = Interests::default();
        let cart: ServiceName = "cart.shop".parse().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let in_use = open.clone();
        interests.keep_while(move |name| *name.name == *"cart" && in_use.load(Relaxed));
        interests.ask(None, &cart).unwrap();
        assert!(!interests.expire(&cart));
        assert!(!interests.expire(&cart), "nobody asked, and a stream is open");
        open.store(false, Relaxed);
        assert!(interests.expire(&cart));
    }

    #[test]
    fn an_interest_counts_as_much_as_it_weighs_until_it_ends() {
        let interests = Interests::default();
        let service = |n: usize| -> ServiceName { format!("s{n}.shop").parse().unwrap() };
        let (greedy, other) = (Some(Identity::Uid(1)), Some(Identity::Uid(2)));
        interests.ask(greedy, &service(0)).unwrap();
        interests.weigh(&service(0), MOST * 3 / 4).unwrap();
        interests.ask(greedy, &service(1)).unwrap_err();
        assert!(interests.weigh(&service(0), MOST).is_err(), "some are left to others");
        interests.ask(other, &service(2)).unwrap();
        assert!(!interests.expire(&service(0)) && interests.expire(&service(0)));
        interests.ask(greedy, &service(1)).unwrap();
        interests.weigh(&service(9), 5).expect("nobody asks for it");
    }

    #[test]
    fn who_asks_for_all_there_are_leaves_some_to_others() {
        let interests = Interests::default();
        let service = |n: usize| -> ServiceName { format!("s{n}.shop").parse().unwrap() };
        let (greedy, other) = (Some(Identity::Uid(1)), Some(Identity::Uid(2)));
        let asked = (0..MOST).filter(|n| interests.ask(greedy, &service(*n)).is_ok()).count();
        assert_eq!(asked, MOST * 3 / 4);
        let refused = interests.ask(greedy, &service(MOST)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "1500 followed services are held by this caller and 1500 of 2000 by all: no more for now"
        );
        interests.ask(other, &service(MOST)).unwrap();
        interests.ask(greedy, &service(0)).unwrap();
        assert!(interests.get(&service(MOST + 1)).is_none());
        let first = service(0);
        assert!(!interests.expire(&first) && interests.expire(&first));
        assert_eq!(
            interests.quota().holders(),
            [(greedy, 1499), (other, 1)],
            "what ends is given back"
        );
    }
}
