//! What a server publishes at a moment, and what changed since an earlier moment.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    resource::{Name, Resource},
    server::limits::RESPONSE_BYTES,
};

/// What the streams of a server read. A program may restrict or complete it for some of its clients.
pub trait Published {
    /// Grows with every change.
    fn revision(&self) -> u64;

    /// The resource of this name.
    fn get(&self, type_url: &str, name: &str) -> Option<Resource>;

    /// The names that a wildcard stands for, in no order.
    fn names(&self, type_url: &str) -> impl Iterator<Item = Name>;

    /// The names of a type that changed after `revision`, perhaps with repetitions; None: too many,
    /// or too long ago.
    fn changed_since(&self, type_url: &str, revision: u64) -> Option<impl Iterator<Item = &Name>>;

    /// Whether a wildcard stands for this name. A resource may also be there for clients that name it alone.
    fn lists(&self, type_url: &str, name: &str) -> bool {
        let _ = (type_url, name);
        true
    }

    /// The bytes of resources in one response of this type, unless a single one has more.
    fn response_bytes(&self, type_url: &str) -> usize {
        let _ = type_url;
        RESPONSE_BYTES
    }

    /// How far the server has read its own sources, as a text for
    /// `DeltaDiscoveryResponse.system_version_info`.
    fn system_version(&self, type_url: &str) -> String {
        let _ = type_url;
        String::new()
    }
}

/// The changes of a type that are remembered. A stream that is further behind compares every resource
/// that it may see, which costs as much as some thousand changes do.
const REMEMBERED: usize = 4096;

/// Resources by type and name.
#[derive(Debug, Default)]
pub struct Resources {
    revision: u64,
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Default)]
struct Type {
    resources: HashMap<Name, Resource>,
    /// The bytes of all bodies.
    bytes: usize,
    /// The newest changes, the oldest first.
    changes: VecDeque<(u64, Name)>,
    /// The revision of the newest change that is not in `changes` any more.
    forgotten: u64,
}

impl Resources {
    /// Publishes a resource. Returns false if it was published already.
    pub fn set(&mut self, type_url: &str, resource: Resource) -> bool {
        let name = resource.name.clone();
        let of_type = self.of_type(type_url);
        let bytes = resource.body.len();
        let before = of_type.resources.insert(name.clone(), resource);
        let changed = before.as_ref() != of_type.resources.get(&name);
        of_type.bytes = of_type.bytes + bytes - before.map_or(0, |before| before.body.len());
        if changed {
            self.changed(type_url, name);
        }
        changed
    }

    /// Removes a resource. Returns false if there was none.
    pub fn remove(&mut self, type_url: &str, name: &str) -> bool {
        let Some(of_type) = self.types.get_mut(type_url) else { return false };
        let Some(resource) = of_type.resources.remove(name) else { return false };
        of_type.bytes -= resource.body.len();
        self.changed(type_url, resource.name);
        true
    }

    /// The number of resources of a type.
    #[must_use]
    pub fn len(&self, type_url: &str) -> usize {
        self.types.get(type_url).map_or(0, |of| of.resources.len())
    }

    /// The bytes of all bodies of a type.
    #[must_use]
    pub fn bytes(&self, type_url: &str) -> usize {
        self.types.get(type_url).map_or(0, |of| of.bytes)
    }

    fn of_type(&mut self, type_url: &str) -> &mut Type {
        if !self.types.contains_key(type_url) {
            self.types.insert(type_url.to_owned(), Type::default());
        }
        self.types.get_mut(type_url).expect("it was inserted")
    }

    fn changed(&mut self, type_url: &str, name: Name) {
        self.revision += 1;
        let revision = self.revision;
        let of_type = self.of_type(type_url);
        of_type.changes.push_back((revision, name));
        if of_type.changes.len() > REMEMBERED
            && let Some((oldest, _)) = of_type.changes.pop_front()
        {
            of_type.forgotten = oldest;
        }
    }
}

impl Published for Resources {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn get(&self, type_url: &str, name: &str) -> Option<Resource> {
        self.types.get(type_url)?.resources.get(name).cloned()
    }

    fn names(&self, type_url: &str) -> impl Iterator<Item = Name> {
        self.types.get(type_url).into_iter().flat_map(|of| of.resources.keys().cloned())
    }

    fn changed_since(&self, type_url: &str, revision: u64) -> Option<impl Iterator<Item = &Name>> {
        let of_type = self.types.get(type_url);
        if of_type.is_some_and(|of| revision < of.forgotten) {
            return None;
        }
        let changes = of_type.into_iter().flat_map(move |of| {
            let after = of.changes.partition_point(|(at, _)| *at <= revision);
            of.changes.range(after..)
        });
        Some(changes.map(|(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(resources: &Resources, since: u64) -> Option<Vec<String>> {
        Some(resources.changed_since("t", since)?.map(ToString::to_string).collect())
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let mut resources = Resources::default();
        assert!(resources.set("t", Resource::new("a", "1")));
        assert!(!resources.set("t", Resource::new("a", "1")));
        assert_eq!(names(&resources, 0), Some(vec!["a".into()]));
        assert_eq!(names(&resources, 1), Some(vec![]));
        assert!(resources.set("t", Resource::new("a", "2")));
        assert!(resources.remove("t", "a") && !resources.remove("t", "a"));
        assert_eq!(names(&resources, 1), Some(vec!["a".into(), "a".into()]));
        assert_eq!((resources.revision(), resources.get("t", "a")), (3, None));
        assert_eq!(resources.changed_since("other", 0).unwrap().count(), 0);
    }

    #[test]
    fn the_bytes_of_a_type_are_those_of_what_is_published() {
        let mut resources = Resources::default();
        resources.set("t", Resource::new("a", "1"));
        resources.set("t", Resource::new("b", "12"));
        resources.set("other", Resource::new("b", "123"));
        assert_eq!((resources.bytes("t"), resources.len("t")), (3, 2));
        resources.set("t", Resource::new("a", "1234"));
        resources.set("t", Resource::new("a", "1234"));
        assert_eq!(resources.bytes("t"), 6);
        resources.remove("t", "b");
        resources.remove("t", "b");
        assert_eq!((resources.bytes("t"), resources.bytes("none")), (4, 0));
    }

    #[test]
    fn changes_of_long_ago_are_forgotten_and_the_answer_says_so() {
        let mut resources = Resources::default();
        for n in 0..=REMEMBERED {
            resources.set("t", Resource::new(n.to_string(), "1"));
        }
        assert_eq!(names(&resources, 0), None, "the first change is forgotten");
        assert_eq!(names(&resources, 1).unwrap().len(), REMEMBERED);
    }
}
