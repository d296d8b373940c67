//! What somebody on this node wants to know: the services that were asked for.
//!
//! Who asks and who answers meet here, and neither knows the other. A lookup notes its interest; a
//! source that answers on demand sees it, says the service for as long as it is asked for, and
//! leaves word here of what it waits for meanwhile. An ask costs a pick one load of a flag.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::watch;

use super::name::ServiceName;

/// That a service is asked for; cheap to clone.
#[derive(Clone, Debug)]
pub struct Interest(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// Since somebody looked last.
    lately: AtomicBool,
    /// What its source waits for.
    awaits: Mutex<Option<Arc<str>>>,
}

impl Interest {
    fn new() -> Self {
        let interest = Self(Arc::default());
        interest.renew();
        interest
    }

    /// It is asked for now.
    pub fn renew(&self) {
        // Mostly it was just before: a store would take the flag away from the other cores.
        if !self.0.lately.load(Relaxed) {
            self.0.lately.store(true, Relaxed);
        }
    }
}

/// All services asked for.
#[derive(Debug, Default)]
pub struct Interests {
    asked: RwLock<HashMap<ServiceName, Interest>>,
    changes: watch::Sender<u64>,
}

impl Interests {
    /// The service is asked for now.
    pub fn ask(&self, name: &ServiceName) {
        if self.renew(name) {
            return;
        }
        let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        asked.entry(name.clone()).or_insert_with(Interest::new).renew();
        drop(asked);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The service is asked for now, if it ever was. False: it was not.
    pub(super) fn renew(&self, name: &ServiceName) -> bool {
        let interest = self.get(name);
        interest.as_ref().inspect(|interest| interest.renew()).is_some()
    }

    /// To renew it without a lookup; none where no source answers on demand.
    pub fn get(&self, name: &ServiceName) -> Option<Interest> {
        self.asked.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Nobody needs an answer any more. True: somebody did.
    pub(super) fn forget(&self, name: &ServiceName) -> bool {
        // Mostly nobody did, and readers need not wait to hear so.
        self.get(name).is_some()
            && self.asked.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// Ends the interest in a service that was not asked for since the last call. True: it ended.
    pub fn expire(&self, name: &ServiceName) -> bool {
        let lately = self.get(name).is_some_and(|interest| interest.0.lately.swap(false, Relaxed));
        if !lately {
            self.forget(name);
        }
        !lately
    }

    /// Leaves word of what the source of a service waits for, for those who wait in turn.
    pub fn awaits(&self, name: &ServiceName, what: impl Into<Arc<str>>) {
        if let Some(interest) = self.get(name) {
            *interest.0.awaits.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.into());
        }
    }

    /// What the source of a service waits for, where it left word.
    pub(super) fn awaited(&self, name: &ServiceName) -> Option<Arc<str>> {
        self.get(name)?.0.awaits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The services asked for, in no order.
    pub fn all(&self) -> Vec<ServiceName> {
        self.asked.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A number that grows with every service that is newly asked for, to wait for.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_ends_when_nobody_asked_between_two_looks() {
        let interests = Interests::default();
        let cart: ServiceName = "cart.shop".parse().unwrap();
        interests.ask(&cart);
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
        interests.ask(&cart);
        interests.ask(&cart);
        assert_eq!(*changes.borrow(), 1);
        assert_eq!(interests.all(), [cart]);
    }
}
