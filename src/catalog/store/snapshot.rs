//! All services at a moment, in shards that snapshots share.
//!
//! A change copies the list of shards and the one shard that it is in, and shares all others with the
//! snapshot before it. So readers keep a consistent snapshot, and one of 10,000 services costs a change
//! a few hundred pointers.
//!
//! A persistent map, such as that of the crate `imbl`, would copy less of a much larger catalog. It
//! brings several crates, and a lookup in it follows more pointers.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;

use crate::catalog::{Service, ServiceName};

/// A change copies as many pointers as there are shards, and as there are services in one of them. The
/// sum is least where the two are equal: here at 65,536 services.
const SHARDS: usize = 256;

/// All services at a moment. A clone shares its shards.
#[derive(Clone)]
pub(super) struct Snapshot {
    shards: Box<[Arc<Shard>]>,
    hasher: RandomState,
}

/// Services by the hash of their names.
type Shard = HashTable<Arc<Service>>;

impl Default for Snapshot {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARDS].into(), hasher: RandomState::new() }
    }
}

impl Snapshot {
    pub(super) fn get(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        let hash = self.hasher.hash_one(name);
        self.shards[shard_of(hash)].find(hash, |service| service.name == *name)
    }

    /// Adds a service, in place of that of its name.
    pub(super) fn insert(&mut self, service: Arc<Service>) {
        let hash = self.hasher.hash_one(&service.name);
        let shard = Arc::make_mut(&mut self.shards[shard_of(hash)]);
        match shard.find_mut(hash, |known| known.name == service.name) {
            Some(known) => *known = service,
            None => {
                let hasher = &self.hasher;
                shard.insert_unique(hash, service, |known| hasher.hash_one(&known.name));
            }
        }
    }

    pub(super) fn remove(&mut self, name: &ServiceName) {
        let hash = self.hasher.hash_one(name);
        let shard = Arc::make_mut(&mut self.shards[shard_of(hash)]);
        if let Ok(known) = shard.find_entry(hash, |service| service.name == *name) {
            known.remove();
        }
    }

    /// The services, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// The services in shards that `other` does not share.
    #[cfg(test)]
    pub(super) fn copied(&self, other: &Self) -> usize {
        let pairs = self.shards.iter().zip(&other.shards);
        pairs.filter(|(one, other)| !Arc::ptr_eq(one, other)).map(|(one, _)| one.len()).sum()
    }
}

/// By bits that neither choose the bucket within the shard (the lowest) nor compare hashes there (the
/// highest).
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::sample::service;

    fn named(n: usize, version: u64) -> Arc<Service> {
        Arc::new(Service { version, ..service(&format!("s{n}.shop"), []) })
    }

    proptest! {
        #[test]
        fn a_snapshot_holds_what_a_map_holds_and_older_ones_stay_as_they_were(
            steps in prop::collection::vec((0..600_usize, any::<bool>()), 0..600)
        ) {
            let (mut snapshot, mut map) = (Snapshot::default(), HashMap::new());
            let mut before = Vec::new();
            for (version, (n, there)) in (0..).zip(steps) {
                if version % 100 == 0 {
                    before.push((snapshot.clone(), map.clone()));
                }
                let service = named(n, version);
                if there {
                    map.insert(service.name.clone(), version);
                    snapshot.insert(service);
                } else {
                    map.remove(&service.name);
                    snapshot.remove(&service.name);
                }
            }
            before.push((snapshot, map));
            for (snapshot, map) in before {
                let held: HashMap<_, _> =
                    snapshot.iter().map(|it| (it.name.clone(), it.version)).collect();
                prop_assert_eq!(snapshot.len(), map.len());
                for (name, version) in &map {
                    prop_assert_eq!(snapshot.get(name).map(|it| it.version), Some(*version));
                }
                prop_assert_eq!(held, map);
            }
        }
    }

    #[test]
    fn a_change_copies_one_shard() {
        const SERVICES: usize = 10_000;
        let mut all = Snapshot::default();
        (0..SERVICES).for_each(|n| all.insert(named(n, 0)));
        for change in [
            |next: &mut Snapshot| next.insert(named(7, 1)),
            |next: &mut Snapshot| next.insert(named(SERVICES, 1)),
            |next: &mut Snapshot| next.remove(&named(7, 1).name),
        ] {
            let mut next = all.clone();
            change(&mut next);
            // A shard has 39 services on average. 120 would be thirteen standard deviations more.
            assert!((1..120).contains(&next.copied(&all)), "{} copied", next.copied(&all));
        }
    }
}
