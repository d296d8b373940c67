//! What every call shares: the agent's state, and who is calling.

use std::{sync::Arc, time::Duration};

use super::{
    configuration::ConfigurationStatus, delivery::Line, shutdown::Shutdown, version::RunId,
};
use crate::{
    catalog::Catalog,
    identity::{Identity, Pods},
    publish::{
        Tables,
        leases::{Connection, Holder, Leases},
    },
    quota::{Permit, Quota},
    serve::{
        Error,
        counters::Metrics,
        isolation::{account::Account, pace::Pace, tarpit::Tarpit},
        limits,
        resolver::{Resolver, access::Access},
    },
};

/// Answers to one caller that there is no such service, which cost it no time.
const FREE_MISSES: u32 = 100;
/// How far apart further ones are. At a millisecond they took some 5% of a core, and another's picks half
/// as long again, since its threads were awake that often.
const MISSES_APART: Duration = Duration::from_millis(5);
/// The longest that one waits, since the caller's request waits with it. Where more than four of one caller
/// wait at a time the pace is that of its own waiting.
const LONGEST_MISS: Duration = Duration::from_millis(20);

/// The calls of `pointsman.v1.Agent`, whatever protocol they come by.
#[derive(Debug)]
pub struct Agent {
    pub(in crate::serve) resolver: Resolver,
    pub(in crate::serve) leases: Arc<Leases>,
    pub(in crate::serve) pods: Arc<Pods>,
    pub(in crate::serve) metrics: Arc<Metrics>,
    /// Who holds how many.
    pub(in crate::serve) connections: Arc<Quota<Identity>>,
    pub(in crate::serve) sessions: Arc<Quota<Identity>>,
    pub(in crate::serve) watches: Arc<Quota<Identity>>,
    pub(in crate::serve) pending: Arc<Quota<Identity>>,
    pub(in crate::serve) tarpit: Arc<Tarpit>,
    pub(in crate::serve) misses: Pace,
    pub(in crate::serve) shutdown: Shutdown,
    pub(in crate::serve) run_id: RunId,
    pub(in crate::serve) configuration: ConfigurationStatus,
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
    /// The same, for what it makes the agent hold.
    pub account: Arc<Account>,
}

impl Caller {
    /// The holder of a lease that ends with the connection.
    pub(in crate::serve) fn on_connection(&self) -> Holder {
        Holder { identity: self.identity, connection: Some(Arc::clone(&self.connection)) }
    }

    /// The holder of a lease that doesn't.
    pub(in crate::serve) fn on_any_connection(&self) -> Holder {
        Holder { identity: self.identity, connection: None }
    }
}

impl Agent {
    /// Answers from this catalog and these tables.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, tables: Tables, access: Access) -> Self {
        let pods = Arc::<Pods>::default();
        tables.call_pods(pods.clone());
        Self {
            resolver: Resolver::new(catalog, tables, access, pods.clone()),
            leases: Leases::new(),
            pods,
            metrics: Arc::default(),
            connections: Quota::with_most(
                "connections",
                limits::most_connections(),
                limits::MAX_CONNECTIONS_OF_ONE,
            ),
            sessions: Quota::new("sessions", limits::MAX_SESSIONS),
            watches: Quota::new("watches", limits::MAX_WATCHES),
            pending: Quota::new("bytes of unfinished requests", limits::MAX_PENDING),
            misses: Pace::new(FREE_MISSES, MISSES_APART, LONGEST_MISS),
            tarpit: Tarpit::new(limits::most_refused_connections()),
            shutdown: Shutdown::default(),
            run_id: RunId::new(),
            configuration: ConfigurationStatus::default(),
        }
    }

    /// The open leases.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// Whether the agent's configuration holds.
    pub fn configuration(&self) -> &ConfigurationStatus {
        &self.configuration
    }

    /// What the pods are called that callers speak for.
    pub fn pods(&self) -> &Arc<Pods> {
        &self.pods
    }

    /// Whose the connections are, and how many there may be.
    pub fn connections(&self) -> &Arc<Quota<Identity>> {
        &self.connections
    }

    /// Whose the sessions are, and how many there may be.
    pub fn sessions(&self) -> &Arc<Quota<Identity>> {
        &self.sessions
    }

    /// Whose the watches are, and how many there may be.
    pub fn watches(&self) -> &Arc<Quota<Identity>> {
        &self.watches
    }

    /// Whose the bytes of unfinished requests are, and how many there may be.
    pub fn pending(&self) -> &Arc<Quota<Identity>> {
        &self.pending
    }

    /// One more session.
    pub(in crate::serve) fn session_permit(
        &self,
        identity: Identity,
    ) -> Result<Permit<Identity>, Error> {
        self.sessions.take(identity).map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "let one session carry the picks of a whole process",
        })
    }

    /// One more watch.
    pub(in crate::serve) fn watch_permit(
        &self,
        identity: Identity,
    ) -> Result<Permit<Identity>, Error> {
        self.watches.take(identity).map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "watch each service once, and end watches that nobody reads",
        })
    }

    /// What is counted of the calls.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Ends the calls that would go on for ever.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The names resolved.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}
