//! Objects of one kind by their keys, each with the services that use it, so that a change of one concerns
//! no other service.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use smallvec::SmallVec;

use crate::catalog::ServiceName;

/// Objects that services use.
#[derive(Debug)]
pub(super) struct Objects<K, V> {
    known: HashMap<K, V>,
    /// A service counts as often as its endpoints name the object. Most pods serve one service.
    users: HashMap<K, SmallVec<[Arc<ServiceName>; 1]>>,
    /// Those that are gone, and known because a service uses them still. Its slice will drop them in a
    /// moment, and one change is told instead of two.
    gone: HashSet<K>,
}

impl<K, V> Default for Objects<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), users: HashMap::new(), gone: HashSet::new() }
    }
}

impl<K: Clone + Eq + Hash, V: PartialEq> Objects<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    /// Adds or changes an object. Adds the services that use it to `touched`, if it differs.
    pub(super) fn set(&mut self, key: K, value: V, touched: &mut Vec<ServiceName>) {
        self.gone.remove(&key);
        if self.known.get(&key) != Some(&value) {
            touched.extend(self.users_of(&key));
            self.known.insert(key, value);
        }
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, key: K) {
        if !self.users.contains_key(&key) {
            self.known.remove(&key);
        } else if self.known.contains_key(&key) {
            self.gone.insert(key);
        }
    }

    /// These are all there are. Adds the services that use what differs to `touched`.
    pub(super) fn replace(&mut self, all: Vec<(K, V)>, touched: &mut Vec<ServiceName>) {
        let mut before = std::mem::take(&mut self.known);
        self.known.reserve(all.len());
        self.gone.clear();
        for (key, value) in all {
            if before.remove(&key).as_ref() != Some(&value) {
                touched.extend(self.users_of(&key));
            }
            self.known.insert(key, value);
        }
        for (key, value) in before {
            if self.users.contains_key(&key) {
                self.gone.insert(key.clone());
                self.known.insert(key, value);
            }
        }
    }

    /// One more endpoint of the service names the object.
    pub(super) fn add_user(&mut self, key: K, service: &Arc<ServiceName>) {
        self.users.entry(key).or_default().push(service.clone());
    }

    /// One endpoint of the service less names the object.
    pub(super) fn remove_user(&mut self, key: &K, service: &ServiceName) {
        let Some(users) = self.users.get_mut(key) else { return };
        if let Some(at) = users.iter().position(|user| **user == *service) {
            users.swap_remove(at);
        }
        if users.is_empty() {
            self.users.remove(key);
            if self.gone.remove(key) {
                self.known.remove(key);
            }
        }
    }

    /// The services that use the object, perhaps with repetitions.
    fn users_of(&self, key: &K) -> impl Iterator<Item = ServiceName> {
        self.users.get(key).into_iter().flatten().map(|service| (**service).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> [Arc<ServiceName>; 2] {
        ["cart.shop", "users.shop"].map(|name| Arc::new(name.parse().unwrap()))
    }

    /// The services that setting the object touches.
    fn touched(objects: &mut Objects<u8, u8>, key: u8, value: u8) -> Vec<String> {
        let mut touched = Vec::new();
        objects.set(key, value, &mut touched);
        let mut touched: Vec<String> = touched.iter().map(ToString::to_string).collect();
        touched.sort();
        touched
    }

    #[test]
    fn a_service_uses_an_object_until_its_last_endpoint_names_it_no_more() {
        let (mut objects, [cart, users]) = (Objects::default(), services());
        for service in [&cart, &users, &cart] {
            objects.add_user(1, service);
        }
        objects.remove_user(&1, &cart);
        assert_eq!(touched(&mut objects, 1, 1), ["cart.shop", "users.shop"]);
        assert!(touched(&mut objects, 1, 1).is_empty(), "it does not differ");
        objects.remove_user(&1, &cart);
        objects.remove_user(&1, &cart);
        assert_eq!(touched(&mut objects, 1, 2), ["users.shop"]);
        objects.remove_user(&1, &users);
        assert!(touched(&mut objects, 1, 3).is_empty());
        assert!(objects.users.is_empty());
    }

    #[test]
    fn an_object_that_is_gone_is_known_until_no_service_uses_it() {
        let (mut objects, [cart, _]) = (Objects::default(), services());
        let set =
            |objects: &mut Objects<u8, u8>| (1..=3).for_each(|n| drop(touched(objects, n, n)));
        set(&mut objects);
        objects.add_user(1, &cart);
        objects.remove(1);
        objects.remove(2);
        assert_eq!((objects.get(&1), objects.get(&2)), (Some(&1), None));
        objects.remove_user(&1, &cart);
        assert_eq!(objects.get(&1), None);

        // It comes back.
        set(&mut objects);
        objects.add_user(1, &cart);
        objects.remove(1);
        set(&mut objects);
        objects.remove_user(&1, &cart);
        assert_eq!(objects.get(&1), Some(&1));

        // A new list lacks it.
        objects.add_user(1, &cart);
        let mut touched = Vec::new();
        objects.replace(vec![(3, 4)], &mut touched);
        assert!(touched.is_empty());
        assert_eq!([1, 2, 3].map(|n| objects.get(&n).copied()), [Some(1), None, Some(4)]);
        objects.remove_user(&1, &cart);
        assert_eq!(objects.known.len(), 1);
        assert!(objects.gone.is_empty());
    }
}
