//! Which namespaces a caller may ask for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use arc_swap::ArcSwap;

use crate::{
    config::{AccessEntry, Callers},
    identity::{Identity, Pod, Pods},
};

/// The access rules of the configuration. The first entry that matches a caller applies. Without entries
/// every caller may ask for everything; otherwise a caller without a matching entry may ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access(pub Vec<AccessEntry>);

impl Access {
    /// Whether every caller may ask for everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this caller may ask for services of this namespace. `pod`: its names, if it is a pod.
    #[must_use]
    pub fn allows(&self, identity: Identity, pod: Option<&Pod>, namespace: &str) -> bool {
        if self.is_open() {
            return true;
        }
        let entry = self.0.iter().find(|entry| fits(&entry.callers, identity, pod));
        entry.is_some_and(|entry| {
            let own = pod.filter(|_| entry.own_namespace).map(|pod| &*pod.namespace);
            own == Some(namespace)
                || entry.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
        })
    }

    /// Whether an entry can match a pod.
    #[must_use]
    pub fn knows_pods(&self) -> bool {
        self.is_open() || self.0.iter().any(|entry| matches!(entry.callers, Callers::Pods { .. }))
    }
}

fn fits(callers: &Callers, identity: Identity, pod: Option<&Pod>) -> bool {
    match (callers, identity) {
        (Callers::Uids(uids), Identity::Uid(uid)) => uids.contains(&uid),
        (Callers::Pods { namespaces, service_accounts }, Identity::Pod(_)) => {
            let among = |names: &Option<BTreeSet<Arc<str>>>, name: &str| {
                names.as_ref().is_none_or(|names| names.contains(name))
            };
            pod.is_some_and(|pod| {
                among(namespaces, &pod.namespace) && among(service_accounts, &pod.service_account)
            })
        }
        _ => false,
    }
}

/// The access rules in force. A reload replaces them.
#[derive(Debug)]
pub struct CurrentAccess {
    access: ArcSwap<Access>,
    pods: Arc<Pods>,
    /// Caches [`Access::is_open`], which each pick reads.
    open: AtomicBool,
}

impl CurrentAccess {
    #[must_use]
    pub fn new(access: Access, pods: Arc<Pods>) -> Self {
        let open = AtomicBool::new(access.is_open());
        Self { open, access: ArcSwap::from_pointee(access), pods }
    }

    /// Replaces the rules. Returns whether they differ.
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
        let pod = match identity {
            Identity::Pod(uid) if !self.is_open() => self.pods.get(uid),
            _ => None,
        };
        self.access.load().allows(identity, pod.as_deref(), namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PodUid;

    fn set(names: &[&str]) -> Option<BTreeSet<Arc<str>>> {
        Some(names.iter().map(|name| Arc::from(*name)).collect())
    }

    fn entry(callers: Callers, namespaces: Option<BTreeSet<Arc<str>>>) -> AccessEntry {
        AccessEntry { callers, namespaces, own_namespace: false }
    }

    fn pods(namespaces: &[&str], service_accounts: Option<&[&str]>) -> Callers {
        Callers::Pods {
            namespaces: set(namespaces),
            service_accounts: service_accounts.and_then(set),
        }
    }

    const CART: Identity = Identity::Pod(PodUid::from_bytes([1; 16]));

    fn cart(namespace: &str) -> Pod {
        Pod { namespace: namespace.into(), name: "cart-7f".into(), service_account: "cart".into() }
    }

    #[test]
    fn without_entries_everyone_may_ask_for_everything() {
        assert!(Access::default().allows(Identity::Uid(7), None, "shop"));
        assert!(Access::default().allows(CART, None, "shop"), "named or not");
    }

    #[test]
    fn the_first_entry_that_fits_holds_and_whom_none_fits_gets_nothing() {
        let access = Access(vec![
            entry(Callers::Uids(1000..=1999), set(&["shop"])),
            entry(Callers::Uids(1500..=1500), set(&["bank"])),
            entry(Callers::Uids(0..=0), None),
        ]);
        let allows = |uid, namespace| access.allows(Identity::Uid(uid), None, namespace);
        assert!(allows(1500, "shop") && !allows(1500, "bank"));
        assert!(allows(0, "anything"));
        assert!(!allows(2000, "shop"));
    }

    #[test]
    fn a_pod_is_fitted_by_its_namespace_and_service_account_and_by_no_uid() {
        let access = Access(vec![
            entry(Callers::Uids(0..=u32::MAX), None),
            entry(pods(&["shop"], Some(&["cart"])), set(&["shop", "bank"])),
            entry(pods(&["shop", "web"], None), set(&["web"])),
        ]);
        let allows = |pod: &Pod, namespace| access.allows(CART, Some(pod), namespace);
        assert!(allows(&cart("shop"), "bank") && !allows(&cart("shop"), "web"));
        assert!(allows(&cart("web"), "web") && !allows(&cart("web"), "bank"));
        assert!(!allows(&cart("bank"), "bank"), "nothing fits it");
        assert!(!access.allows(CART, None, "bank"), "whose names are not known");
        assert!(access.knows_pods());
        assert!(!Access(access.0[..1].to_vec()).knows_pods());
    }

    #[test]
    fn a_pods_own_namespace_is_its_own_whatever_else_is_allowed() {
        let mut own = entry(pods(&["shop", "web"], None), set(&["public"]));
        own.own_namespace = true;
        let access = Access(vec![own]);
        for namespace in ["shop", "web"] {
            let allows = |asked| access.allows(CART, Some(&cart(namespace)), asked);
            assert!(allows(namespace) && allows("public") && !allows("bank"));
        }
        assert!(!access.allows(CART, Some(&cart("shop")), "web"));
    }

    #[test]
    fn what_holds_now_knows_the_names_of_pods() {
        let names = Arc::<Pods>::default();
        let access =
            CurrentAccess::new(Access(vec![entry(pods(&["shop"], None), None)]), names.clone());
        assert!(!access.allows(CART, "shop"));
        names.learn(PodUid::from_bytes([1; 16]), cart("shop"));
        assert!(access.allows(CART, "shop"));
        assert!(access.replace(Access::default()));
        assert!(access.allows(Identity::Uid(7), "shop"));
    }
}
