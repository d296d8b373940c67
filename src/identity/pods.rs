//! What the pods are called that callers speak for.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Identity, PodUid};

/// Pods that are gone and still have their names, for who asks whose the leases were that they left.
/// At some 200 bytes each they take 200 KiB; a lease lives an hour at most, in which a node starts
/// hundreds of pods where it is busy with short jobs.
const GONE: usize = 1024;

/// As Kubernetes calls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: Box<str>,
    /// The name, which another pod of the namespace may have later.
    pub name: Box<str>,
    /// The ServiceAccount it runs as.
    pub service_account: Box<str>,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, service_account } = self;
        write!(f, "pod {namespace}/{name} (serviceaccount {service_account})")
    }
}

/// The pods of this node that have a folder of their own, and some that had.
#[derive(Debug, Default)]
pub struct Pods(RwLock<PodNames>);

#[derive(Debug, Default)]
struct PodNames {
    pods: HashMap<PodUid, Arc<Pod>>,
    /// Those of `pods` that are gone, in order.
    gone: VecDeque<PodUid>,
}

/// An identity as a person wants to read it.
#[derive(Clone, Debug)]
pub struct PodName {
    identity: Identity,
    pod: Option<Arc<Pod>>,
}

impl Pods {
    /// This pod is called so.
    pub fn learn(&self, uid: PodUid, pod: Pod) {
        let mut known = self.write();
        known.gone.retain(|gone| *gone != uid);
        known.pods.insert(uid, Arc::new(pod));
    }

    /// This pod is gone. Its name is kept until as many others are gone as are remembered.
    pub fn gone(&self, uid: PodUid) {
        let mut known = self.write();
        if known.pods.contains_key(&uid) && !known.gone.contains(&uid) {
            known.bury(uid);
        }
    }

    /// This pod was called so, as another agent says: it may be gone by now.
    pub fn remember(&self, uid: PodUid, pod: Pod) {
        let mut known = self.write();
        if let Entry::Vacant(unknown) = known.pods.entry(uid) {
            unknown.insert(Arc::new(pod));
            known.bury(uid);
        }
    }

    /// What this pod is called.
    #[must_use]
    pub fn get(&self, uid: PodUid) -> Option<Arc<Pod>> {
        self.read().pods.get(&uid).cloned()
    }

    /// All that are known, for another agent.
    #[must_use]
    pub fn all(&self) -> Vec<(PodUid, Arc<Pod>)> {
        self.read().pods.iter().map(|(uid, pod)| (*uid, Arc::clone(pod))).collect()
    }

    /// An identity as a person wants to read it.
    #[must_use]
    pub fn named(&self, identity: Identity) -> PodName {
        let pod = match identity {
            Identity::Uid(_) => None,
            Identity::Pod(uid) => self.get(uid),
        };
        PodName { identity, pod }
    }

    fn read(&self) -> RwLockReadGuard<'_, PodNames> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, PodNames> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodNames {
    fn bury(&mut self, uid: PodUid) {
        self.gone.push_back(uid);
        if self.gone.len() > GONE
            && let Some(oldest) = self.gone.pop_front()
        {
            self.pods.remove(&oldest);
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => pod.fmt(f),
            None => self.identity.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        Pod { namespace: "shop".into(), name: name.into(), service_account: "cart".into() }
    }

    fn uid(number: u16) -> PodUid {
        let [high, low] = number.to_be_bytes();
        PodUid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low])
    }

    #[test]
    fn a_caller_is_shown_by_its_pods_names_or_by_its_uid() {
        let pods = Pods::default();
        let shown = |identity| pods.named(identity).to_string();
        let cart = Identity::Pod(uid(7));
        assert_eq!(shown(cart), "pod 00000000-0000-0000-0000-000000000007");
        pods.learn(uid(7), pod("cart-7f"));
        assert_eq!(shown(cart), "pod shop/cart-7f (serviceaccount cart)");
        assert_eq!(shown(Identity::Uid(7)), "uid 7");
    }

    #[test]
    fn a_pod_that_is_gone_keeps_its_name_until_many_others_are_gone() {
        let pods = Pods::default();
        for number in 0..=GONE {
            let number = u16::try_from(number).unwrap();
            pods.learn(uid(number), pod(&format!("job-{number}")));
        }
        pods.gone(uid(0));
        pods.gone(uid(0));
        pods.gone(uid(1));
        assert!(pods.get(uid(0)).is_some());
        // Back again, as after a restart of the plugin: it is no longer one of those that are gone.
        pods.learn(uid(1), pod("job-1"));
        for number in 2..=GONE {
            pods.gone(uid(u16::try_from(number).unwrap()));
        }
        assert!(pods.get(uid(0)).is_some(), "1,024 are remembered");
        pods.gone(uid(1));
        assert_eq!(pods.get(uid(0)), None);
        assert_eq!(pods.all().len(), GONE);
    }
}
