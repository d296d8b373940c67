//! The names of one type that a stream may have to send.
//!
//! A name is looked at when it changed, or when the client asked for it. The stream then compares what
//! the client has with what is published, so a name that changed and changed back costs no message.

use std::collections::BTreeMap;

use super::interest::Interest;
use crate::{published::Published, resource::Name};

/// The names to look at, in the order of their text, so that equal histories give equal messages.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// By name, whether the name is answered even if the client has the latest version.
    names: BTreeMap<Name, bool>,
    /// The revision up to which changes are in `names`.
    seen: u64,
    /// Nothing was looked at yet: all that the client may see is due.
    begun: bool,
}

impl Due {
    /// The name is answered, whatever the client has.
    pub(super) fn answer(&mut self, name: Name) {
        self.names.insert(name, true);
    }

    /// The name is sent if what the client has differs from what is published.
    pub(super) fn compare(&mut self, name: Name) {
        self.names.entry(name).or_insert(false);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.names.retain(|name, _| kept(name));
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.names.iter().map(|(name, answered)| (name, *answered))
    }

    /// Adds what changed since the last call and is of interest to the client. `has`: the names that it
    /// knows, which count if the changes since then are not known.
    pub(super) fn collect<'a>(
        &mut self,
        published: &impl Published,
        type_url: &str,
        interest: &Interest,
        has: impl Iterator<Item = &'a Name>,
    ) {
        let revision = published.revision();
        if self.begun && self.seen == revision {
            return;
        }
        let changed = self.begun.then(|| published.changed_since(type_url, self.seen)).flatten();
        match changed {
            Some(changed) => {
                for name in changed.filter(|name| interest.follows(published, type_url, name)) {
                    self.names.entry(name.clone()).or_insert(false);
                }
            }
            None => {
                let all = interest.all(published, type_url, has);
                all.into_iter().for_each(|name| self.compare(name));
            }
        }
        self.begun = true;
        self.seen = revision;
    }

    /// Everything is compared at the next [`Self::collect`].
    pub(super) fn begin_anew(&mut self) {
        self.begun = false;
    }
}
