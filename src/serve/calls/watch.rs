//! `WatchService`: the endpoints of a service, and then their changes.
//!
//! Nothing is queued. A watcher keeps the state that it sent last, and compares it with the current one
//! when the caller has room. A slow caller gets fewer events, each with more changes.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Agent,
    get::{all_ports, endpoint_of_source},
    shutdown::ShutdownSignal,
};
use crate::{
    api::v1::{self, watch_event::Type},
    catalog::{Endpoint, LookupError, Service, ServiceRef},
    identity::Identity,
    quota::Permit,
    serve::{Error, limits, resolver::lost},
};

/// The time between two events while nothing changes. A caller that gets nothing for twice as long has
/// lost its agent.
pub(in crate::serve) const BOOKMARK: Duration = Duration::from_secs(30);

/// A caller's view of a service.
pub(in crate::serve) struct Watcher {
    agent: Arc<Agent>,
    identity: Identity,
    /// The name that the caller gave.
    name: String,
    asked: ServiceRef,
    changes: watch::Receiver<u64>,
    ended: ShutdownSignal,
    /// The version that the caller has.
    since: Option<u64>,
    sent: Option<WatchedPorts>,
    _permit: Permit<Identity>,
}

/// The watched ports of a service at one time.
struct WatchedPorts {
    service: Arc<Service>,
    ports: Range<usize>,
}

impl Agent {
    /// # Errors
    /// A field is invalid, there is no such service, or there are too many watches.
    pub(in crate::serve) async fn watch_service(
        self: &Arc<Self>,
        identity: Identity,
        request: v1::WatchServiceRequest,
        deadline: Option<Duration>,
    ) -> Result<Watcher, Error> {
        let since = match request.since.as_str() {
            "" => None,
            since => self.run_id.number(since)?,
        };
        let asked = self.resolver.parse_allowed(identity, &request.service)?;
        let permit = self.watch_permit(identity)?;
        let catalog = self.resolver.catalog();
        let changes = catalog.changes();
        let wait = limits::wait(None, deadline);
        // The first event looks the service up again.
        if let Err(error) =
            all_ports(catalog, catalog.lookup_wait_by(Some(identity), &asked, wait).await)
        {
            return Err(self.resolver.not_found(identity, &request.service, error, wait).await);
        }
        Ok(Watcher {
            agent: Arc::clone(self),
            identity,
            name: request.service,
            asked,
            changes,
            ended: self.shutdown.wait(),
            since,
            sent: None,
            _permit: permit,
        })
    }
}

impl Watcher {
    /// The next event.
    ///
    /// # Errors
    /// No more events: the service is gone, or the agent shuts down.
    pub(in crate::serve) async fn next(&mut self) -> Result<v1::WatchEvent, Error> {
        let bookmark = Instant::now() + BOOKMARK;
        loop {
            // In this order, a change during the comparison wakes the next one.
            self.changes.mark_unchanged();
            if let Some(event) = self.next_change()? {
                return Ok(event);
            }
            tokio::select! {
                // The sender lives in the catalog, so that this can't fail.
                _ = self.changes.changed() => {}
                () = tokio::time::sleep_until(bookmark) => {
                    return Ok(self.event(Type::Bookmark, Vec::new(), Vec::new()));
                }
                () = &mut self.ended => return Err(Error::ShuttingDown),
            }
        }
    }

    /// The event for what differs from the state that was sent last, if anything does.
    fn next_change(&mut self) -> Result<Option<v1::WatchEvent>, Error> {
        // Access may change during the watch.
        self.agent.resolver.admit(self.identity, &self.asked)?;
        let now = WatchedPorts::of(&self.agent, self.identity, &self.asked)
            .map_err(|error| lost(&self.name, error, Duration::ZERO))?;
        let known = self.sent.as_ref().map(|sent| sent.service.version).or(self.since);
        if known == Some(now.service.version) {
            let first = self.sent.is_none();
            self.sent = Some(now);
            // The first event is a bookmark, so that the caller knows it has missed nothing.
            return Ok(first.then(|| self.event(Type::Bookmark, Vec::new(), Vec::new())));
        }
        let (kind, upserted, removed) = match &self.sent {
            None => (Type::Snapshot, now.by_address().into_values().collect(), Vec::new()),
            Some(before) => {
                let (upserted, removed) = now.differs_from(before);
                // No endpoint changed, but the service's version did.
                let nothing = upserted.is_empty() && removed.is_empty();
                (if nothing { Type::Bookmark } else { Type::Delta }, upserted, removed)
            }
        };
        let upserted = upserted.into_iter().map(endpoint_of_source).collect();
        let removed = removed.iter().map(ToString::to_string).collect();
        self.sent = Some(now);
        Ok(Some(self.event(kind, upserted, removed)))
    }

    /// An event for the state that was sent last.
    fn event(
        &self,
        kind: Type,
        upserted: Vec<v1::Endpoint>,
        removed: Vec<String>,
    ) -> v1::WatchEvent {
        let sent = self.sent.as_ref();
        v1::WatchEvent {
            r#type: kind.into(),
            version: sent
                .map(|sent| self.agent.run_id.version(sent.service.version))
                .unwrap_or_default(),
            service: sent.map(|sent| sent.service.name.to_string()).unwrap_or_default(),
            upserted,
            removed,
        }
    }
}

impl WatchedPorts {
    fn of(agent: &Agent, identity: Identity, asked: &ServiceRef) -> Result<Self, LookupError> {
        let catalog = agent.resolver.catalog();
        let (service, ports) = all_ports(catalog, catalog.lookup_by(Some(identity), asked))?;
        Ok(Self { service, ports })
    }

    /// The endpoints, each once: ports may share them.
    fn by_address(&self) -> BTreeMap<SocketAddr, &Endpoint> {
        let ports = &self.service.ports[self.ports.clone()];
        let endpoints = ports.iter().flat_map(|port| port.endpoints.iter());
        endpoints.map(|endpoint| (endpoint.address, endpoint)).collect()
    }

    /// New and changed endpoints, and the addresses that are gone.
    fn differs_from(&self, before: &Self) -> (Vec<&Endpoint>, Vec<SocketAddr>) {
        let (before, now) = (before.by_address(), self.by_address());
        let gone = before.keys().filter(|address| !now.contains_key(address)).copied().collect();
        let same = |a: &Endpoint, b: &Endpoint| {
            // Not every field of an endpoint is shown.
            a == b || endpoint_of_source(a) == endpoint_of_source(b)
        };
        let differs = |endpoint: &&Endpoint| {
            before.get(&endpoint.address).is_none_or(|old| !same(old, endpoint))
        };
        (now.values().copied().filter(differs).collect(), gone)
    }
}

#[cfg(test)]
mod tests;
