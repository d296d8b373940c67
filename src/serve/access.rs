//! Which services an identity may ask for, by namespace.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Relaxed, SeqCst},
    },
};

use arc_swap::ArcSwap;

use crate::{config::AccessEntry, identity::Identity};

/// What the configuration allows whom; the first entry that fits a caller holds. Without entries
/// everyone may ask for everything; with some, whom none fits may ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access(pub Vec<AccessEntry>);

impl Access {
    /// Whether everyone may ask for everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this caller may know of services in this namespace.
    #[must_use]
    pub fn allows(&self, identity: Identity, namespace: &str) -> bool {
        if self.is_open() {
            return true;
        }
        // No entry can name a pod yet.
        let Identity::Uid(uid) = identity else { return false };
        let entry = self.0.iter().find(|entry| entry.uids.contains(&uid));
        entry.is_some_and(|entry| {
            entry.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
        })
    }
}

/// The access that holds now; another may take its place at any time.
#[derive(Debug)]
pub struct InForce {
    access: ArcSwap<Access>,
    /// As the access says; cheaper to ask with each pick.
    open: AtomicBool,
}

impl InForce {
    /// This one, until another does.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { open: AtomicBool::new(access.is_open()), access: ArcSwap::from_pointee(access) }
    }

    /// Has another take its place; says whether it differs.
    pub fn replace(&self, access: Access) -> bool {
        let open = access.is_open();
        if !open {
            self.open.store(false, SeqCst);
        }
        let differs = **self.access.load() != access;
        self.access.store(Arc::new(access));
        if open {
            self.open.store(true, SeqCst);
        }
        differs
    }

    /// As [`Access::is_open`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// As [`Access::allows`].
    #[must_use]
    pub fn allows(&self, identity: Identity, namespace: &str) -> bool {
        self.access.load().allows(identity, namespace)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    fn entry(uids: RangeInclusive<u32>, namespaces: &[&str]) -> AccessEntry {
        AccessEntry {
            uids,
            namespaces: Some(namespaces.iter().map(|name| Arc::from(*name)).collect()),
        }
    }

    #[test]
    fn without_entries_everyone_may_ask_for_everything() {
        assert!(Access::default().allows(Identity::Uid(7), "shop"));
    }

    #[test]
    fn the_first_entry_that_fits_holds_and_whom_none_fits_gets_nothing() {
        let all = AccessEntry { uids: 0..=0, namespaces: None };
        let access =
            Access(vec![entry(1000..=1999, &["shop"]), entry(1500..=1500, &["bank"]), all]);
        let allows = |uid, namespace| access.allows(Identity::Uid(uid), namespace);
        assert!(allows(1500, "shop") && !allows(1500, "bank"));
        assert!(allows(0, "anything"));
        assert!(!allows(2000, "shop"));
    }
}
