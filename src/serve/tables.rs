//! Tables for some endpoints of a service only, chosen by labels.
//!
//! Callers choose the labels, so there must be a bound to such tables: each has shared memory and
//! a part in every publication. They are given up when nobody has asked for them for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Error;
use crate::{
    clock,
    publish::{Live, Tables, Target, leases::Identity},
    quota::{Permit, Quota},
};

/// All that there may be. A node's programs use a handful, each for its own shard.
const MOST: usize = 1024;
/// Unused for so long, one is given up where another is wanted.
const UNUSED: Duration = Duration::from_secs(60);

/// The tables that were made for labels.
#[derive(Debug)]
pub(super) struct Narrowed {
    tables: Tables,
    quota: Arc<Quota<Identity>>,
    kept: Mutex<HashMap<Target, Kept>>,
}

#[derive(Debug)]
struct Kept {
    used: Duration,
    _permit: Permit<Identity>,
}

impl Narrowed {
    pub(super) fn new(tables: Tables) -> Self {
        let quota = Quota::new("tables for labels", MOST);
        Self { tables, quota, kept: Mutex::default() }
    }

    /// The table of a target with labels. None: the catalog has no such port.
    pub(super) fn open(
        &self,
        identity: Identity,
        target: &Target,
    ) -> Result<Option<Arc<Live>>, Error> {
        let now = clock::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get_mut(target) {
            known.used = now;
            return self.tables.open(target).map_err(Error::NoTable);
        }
        let permit = self.quota.take(identity).or_else(|_| {
            kept.retain(|target, known| known.used + UNUSED > now || !self.tables.close(target));
            self.quota.take(identity)
        });
        let permit = permit.map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "select by fewer different labels, or wait a minute for unused ones to go",
        })?;
        let live = self.tables.open(target).map_err(Error::NoTable)?;
        if live.is_some() {
            kept.insert(target.clone(), Kept { used: now, _permit: permit });
        }
        Ok(live)
    }
}
