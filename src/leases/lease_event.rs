//! What an agent sends its successor about a lease.

use std::{net::SocketAddr, time::Duration};

use super::{id::LeaseId, report::Event};
use crate::{
    identity::Identity,
    publish::{ServerLoad, Target},
};

/// An open lease, as another agent takes it over.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedLease {
    pub id: LeaseId,
    /// The identity that has it.
    pub identity: Identity,
    /// The target it was picked from.
    pub target: Target,
    /// The picked endpoint.
    pub address: SocketAddr,
    pub cost: u32,
    pub in_flight: bool,
    /// Nobody will report it, because its caller never got its name.
    pub no_report: bool,
    /// The time until its deadline.
    pub ttl: Duration,
}

/// A change of a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseEvent {
    /// A new lease.
    Given(HandedLease),
    /// A report about a lease.
    Reported {
        id: LeaseId,
        /// The identity that reported.
        identity: Identity,
        event: Event,
        /// The load of the server, if it reported one.
        load: Option<ServerLoad>,
        /// The request was a retry.
        retry: bool,
    },
}
