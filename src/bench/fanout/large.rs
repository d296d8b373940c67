//! What a client has of the large service: its assignment, whole or in the parts that its cluster says.

use std::collections::BTreeMap;

use xds::Name;
use xxhash_rust::xxh3::xxh3_64;

use super::services::{LARGE, steps_of};
use crate::{catalog::Endpoint, discovery::agent::parts};

#[derive(Default)]
pub(super) struct Large {
    parts: BTreeMap<Name, Part>,
}

#[derive(Default)]
struct Part {
    version: Option<String>,
    endpoints: Vec<Endpoint>,
}

impl Large {
    /// Its cluster says so many parts. Returns the names to subscribe to, and those to give up.
    pub(super) fn divide(&mut self, count: u32) -> (Vec<Name>, Vec<Name>) {
        let names = parts::names(LARGE, count);
        let gone: Vec<Name> =
            self.parts.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &gone {
            self.parts.remove(name);
        }
        let new: Vec<Name> =
            names.into_iter().filter(|name| !self.parts.contains_key(name)).collect();
        self.parts.extend(new.iter().map(|name| (name.clone(), Part::default())));
        (new, gone)
    }

    /// A part has come. `endpoints`: of a client that decodes. Returns false if it is none of the service's.
    pub(super) fn came(&mut self, name: &Name, version: String, endpoints: Vec<Endpoint>) -> bool {
        let Some(part) = self.parts.get_mut(name) else { return false };
        *part = Part { version: Some(version), endpoints };
        true
    }

    /// One version for all parts. None: one has not come yet.
    pub(super) fn version(&self) -> Option<u64> {
        let mut all = String::new();
        for part in self.parts.values() {
            all += part.version.as_ref()?;
            all.push(' ');
        }
        (!self.parts.is_empty()).then(|| xxh3_64(all.as_bytes()))
    }

    /// How many steps of their restart the pods have made.
    pub(super) fn steps(&self, pods: usize) -> Option<usize> {
        let all = self.parts.values().flat_map(|part| &part.endpoints).cloned();
        steps_of(&all.collect::<Vec<_>>(), pods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_there_with_the_last_part_and_is_another_with_each() {
        let mut large = Large::default();
        let (new, gone) = large.divide(2);
        assert_eq!((new.len(), gone.len(), large.version()), (2, 0, None));
        assert!(large.came(&new[0], "1".into(), Vec::new()));
        assert_eq!(large.version(), None);
        large.came(&new[1], "2".into(), Vec::new());
        let first = large.version().unwrap();
        large.came(&new[1], "3".into(), Vec::new());
        assert_ne!(large.version().unwrap(), first);
        let (whole, parts) = large.divide(1);
        assert_eq!((whole, parts), (vec![Name::from(LARGE)], new.clone()));
        assert!(!large.came(&new[0], "4".into(), Vec::new()), "it was given up");
    }
}
