//! A lease that has not ended.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    connection::Connection,
    id::LeaseId,
    lease_event::{HandedLease, LeaseEvent},
    owner::LeasePermit,
    pending_changes::ReportedFacts,
    report::Event,
    tally::Tally,
};
use crate::publish::{InFlightGuard, Outcome};

pub(super) struct OpenLease {
    pub held: InFlightGuard,
    pub in_flight: bool,
    pub no_report: bool,
    pub permit: LeasePermit,
    pub connection: Option<Arc<Connection>>,
    pub deadline: Instant,
    pub tally: Arc<Tally>,
}

impl OpenLease {
    pub(super) fn end(mut self, id: LeaseId, outcome: Outcome, latency: Option<Duration>) {
        if let Some(connection) = &self.connection {
            connection.release(id);
        }
        self.tally.ended(outcome);
        // An outcome without a start before it was still a request.
        if !self.in_flight && outcome != Outcome::Cancelled {
            self.held.start();
        }
        self.held.end(outcome, latency);
    }

    pub(super) fn handed(&self, id: LeaseId, now: Instant) -> HandedLease {
        HandedLease {
            id,
            identity: self.permit.identity(),
            target: self.held.target().clone(),
            address: self.held.endpoint.address,
            cost: self.held.cost(),
            in_flight: self.in_flight,
            no_report: self.no_report,
            ttl: self.deadline.saturating_duration_since(now),
        }
    }

    /// A report that brings the lease at the successor into its state here.
    pub(super) fn moved(&self, id: LeaseId, said: ReportedFacts, now: Instant) -> LeaseEvent {
        let ttl = self.deadline.saturating_duration_since(now);
        let event = if self.in_flight { Event::Started(ttl) } else { Event::Renewed(ttl) };
        let ReportedFacts { load, retry } = said;
        LeaseEvent::Reported { id, identity: self.permit.identity(), event, load, retry }
    }
}
