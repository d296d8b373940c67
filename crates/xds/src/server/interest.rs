//! What a stream subscribes to in one type.

use std::collections::BTreeSet;

use crate::{published::Published, resource::Name};

/// All resources, or those of these names, or both: a client may give either up alone.
#[derive(Debug, Default)]
pub(super) struct Interest {
    pub(super) wildcard: bool,
    pub(super) named: BTreeSet<Name>,
}

impl Interest {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.named.contains(name)
    }

    /// Whether the client has to be told of a change of this name.
    pub(super) fn follows(&self, published: &impl Published, type_url: &str, name: &str) -> bool {
        self.named.contains(name) || self.wildcard && published.lists(type_url, name)
    }

    /// Every name that the client may have to be told of. `has`: the names that it knows.
    pub(super) fn all<'a>(
        &self,
        published: &impl Published,
        type_url: &str,
        has: impl Iterator<Item = &'a Name>,
    ) -> Vec<Name> {
        match self.wildcard {
            true => has.cloned().chain(published.names(type_url)).collect(),
            false => self.named.iter().cloned().collect(),
        }
    }
}
