//! The names of the pods that callers come from.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{caller::Identity, pod_uid::PodUid};

/// The pods that are gone and keep their names, for questions about the leases that they left. At
/// some 200 bytes each they take 200 KiB. A lease lives for an hour at most, and in an hour a node
/// that runs many short jobs starts hundreds of pods.
const GONE: usize = 1024;

/// The names that Kubernetes has for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: Box<str>,
    /// The name, which a later pod of the namespace may have again.
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

/// The pods of this node that have a folder of their own, and some that had one.
#[derive(Debug, Default)]
pub struct Pods(RwLock<PodNames>);

#[derive(Debug, Default)]
struct PodNames {
    pods: HashMap<PodUid, Arc<Pod>>,
    /// Those of `pods` that are gone, the oldest first.
    gone: VecDeque<PodUid>,
}

/// An identity in a form for people: the name of its pod, if that is known.
#[derive(Clone, Debug)]
pub struct PodName {
    identity: Identity,
    pod: Option<Arc<Pod>>,
}

impl Pods {
    /// Takes in the name of a pod.
    pub fn learn(&self, uid: PodUid, pod: Pod) {
        let mut known = self.write();
        known.gone.retain(|gone| *gone != uid);
        known.pods.insert(uid, Arc::new(pod));
    }

    /// Takes in that a pod is gone. Its name is kept until 1,024 others are gone after it.
    pub fn gone(&self, uid: PodUid) {
        let mut known = self.write();
        if known.pods.contains_key(&uid) && !known.gone.contains(&uid) {
            known.bury(uid);
        }
    }

    /// Takes in a pod's name from another agent. The pod may be gone by now.
    pub fn remember(&self, uid: PodUid, pod: Pod) {
        let mut known = self.write();
        if let Entry::Vacant(unknown) = known.pods.entry(uid) {
            unknown.insert(Arc::new(pod));
            known.bury(uid);
        }
    }

    /// The names of a pod, if they are known.
    #[must_use]
    pub fn get(&self, uid: PodUid) -> Option<Arc<Pod>> {
        self.read().pods.get(&uid).cloned()
    }

    /// All known pods, for another agent.
    #[must_use]
    pub fn all(&self) -> Vec<(PodUid, Arc<Pod>)> {
        self.read().pods.iter().map(|(uid, pod)| (*uid, Arc::clone(pod))).collect()
    }

    /// An identity in a form for people: the name of its pod, if that is known.
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
        // The pod is back, as after a restart of the plugin, and no longer among those that are gone.
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
