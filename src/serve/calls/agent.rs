//! What all calls share: the agent's state, and the caller.

use std::{sync::Arc, time::Duration};

use super::{
    configuration::ConfigurationStatus, delivery::DeliveryTracker, shutdown::Shutdown,
    version::RunId,
};
use crate::{
    catalog::Catalog,
    identity::{Identity, Pods},
    leases::{Connection, Holder, Leases, Owner},
    publish::Tables,
    quota::{Permit, Quota},
    serve::{
        Error,
        counters::Metrics,
        isolation::{account::Account, rate_limit::RateLimit, tarpit::Tarpit},
        limits,
        resolver::{Resolver, access::Access},
    },
};

/// Errors of unknown services for one caller without a delay.
const FREE_MISSES: u32 = 100;
/// The time between further errors. At a millisecond they took some 5% of a core, and another caller's
/// picks took half as long again.
const MISS_INTERVAL: Duration = Duration::from_millis(5);
/// The longest delay of such an error. With more than four requests of one caller at a time, this delay
/// sets the rate.
const LONGEST_MISS_DELAY: Duration = Duration::from_millis(20);

/// The state of the calls of `pointsman.v1.Agent`, for every protocol.
#[derive(Debug)]
pub struct Agent {
    pub(in crate::serve) resolver: Resolver,
    pub(in crate::serve) leases: Arc<Leases>,
    pub(in crate::serve) pods: Arc<Pods>,
    pub(in crate::serve) metrics: Arc<Metrics>,
    pub(in crate::serve) connections: Arc<Quota<Identity>>,
    pub(in crate::serve) sessions: Arc<Quota<Identity>>,
    pub(in crate::serve) watches: Arc<Quota<Identity>>,
    pub(in crate::serve) pending: Arc<Quota<Identity>>,
    pub(in crate::serve) tarpit: Arc<Tarpit>,
    pub(in crate::serve) misses: RateLimit,
    pub(in crate::serve) shutdown: Shutdown,
    pub(in crate::serve) run_id: RunId,
    pub(in crate::serve) configuration: ConfigurationStatus,
}

/// A caller and its connection.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    /// The owner of its leases.
    pub owner: Arc<Owner>,
    /// Its connection, for leases that end with it.
    pub connection: Arc<Connection>,
    /// Tracks answers that may not arrive.
    pub delivery: Arc<DeliveryTracker>,
    /// Pays for the bytes that the agent holds for this connection.
    pub account: Arc<Account>,
}

impl Caller {
    /// The holder of a lease that ends with the connection.
    pub(in crate::serve) fn on_connection(&self) -> Holder {
        Holder { owner: self.owner.clone(), connection: Some(self.connection.clone()) }
    }

    /// The holder of a lease that doesn't.
    pub(in crate::serve) fn on_any_connection(&self) -> Holder {
        Holder { owner: self.owner.clone(), connection: None }
    }
}

impl Agent {
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
            misses: RateLimit::new(FREE_MISSES, MISS_INTERVAL, LONGEST_MISS_DELAY),
            tarpit: Tarpit::new(limits::most_refused_connections()),
            shutdown: Shutdown::default(),
            run_id: RunId::new(),
            configuration: ConfigurationStatus::default(),
        }
    }

    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// The status of the configuration file.
    pub fn configuration(&self) -> &ConfigurationStatus {
        &self.configuration
    }

    pub fn pods(&self) -> &Arc<Pods> {
        &self.pods
    }

    pub fn connections(&self) -> &Arc<Quota<Identity>> {
        &self.connections
    }

    pub fn sessions(&self) -> &Arc<Quota<Identity>> {
        &self.sessions
    }

    pub fn watches(&self) -> &Arc<Quota<Identity>> {
        &self.watches
    }

    pub fn pending(&self) -> &Arc<Quota<Identity>> {
        &self.pending
    }

    pub(in crate::serve) fn session_permit(
        &self,
        identity: Identity,
    ) -> Result<Permit<Identity>, Error> {
        self.sessions.take(identity).map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "let one session carry the picks of a whole process",
        })
    }

    pub(in crate::serve) fn watch_permit(
        &self,
        identity: Identity,
    ) -> Result<Permit<Identity>, Error> {
        self.watches.take(identity).map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "watch each service once, and end watches that nobody reads",
        })
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Ends the calls that have no end of their own.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}
