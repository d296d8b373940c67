//! What every call shares: the agent's state, and who is calling.

use std::{sync::Arc, time::Duration};

use super::{delivery::Line, metrics::Metrics, names::Names};
use crate::{
    catalog::Catalog,
    publish::{
        Tables,
        leases::{Connection, Holder, Identity, Leases},
    },
};

/// The calls of `pointsman.v1.Agent`, whatever protocol they come by.
#[derive(Debug)]
pub struct Agent {
    pub(super) names: Names,
    pub(super) leases: Arc<Leases>,
    pub(super) metrics: Arc<Metrics>,
}

/// Who is calling, and over which connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who may report the leases of this call.
    pub identity: Identity,
    /// The connection it came by, for leases that end with it.
    pub connection: Arc<Connection>,
    /// The same, for answers that may not arrive.
    pub line: Arc<Line>,
}

impl Caller {
    /// The holder of a lease that ends with the connection.
    pub(super) fn on_connection(&self) -> Holder {
        Holder { identity: self.identity, connection: Some(Arc::clone(&self.connection)) }
    }

    /// The holder of a lease that doesn't.
    pub(super) fn on_any_connection(&self) -> Holder {
        Holder { identity: self.identity, connection: None }
    }
}

impl Agent {
    /// Answers from this catalog and these tables.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, tables: Tables) -> Self {
        let names = Names::new(catalog, tables);
        Self { names, leases: Leases::new(), metrics: Arc::default() }
    }

    /// The open leases.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// What is counted of the calls.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The names resolved.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

/// The lesser of what the caller waits for and what its protocol gives it.
pub(super) fn wait(asked: Option<Duration>, deadline: Option<Duration>) -> Duration {
    let asked = asked.unwrap_or(super::limits::DEFAULT_WAIT);
    deadline.map_or(asked, |deadline| asked.min(deadline))
}
