//! `WatchService`: the endpoints of a service, and from then on what changes of them.
//!
//! Nothing is queued. A watcher keeps the one state that it told last, and looks for what differs
//! when that has gone out: one that reads slowly hears less often, and then all of it.

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
    publish::leases::Identity,
    quota::Permit,
    serve::{Error, limits, resolver::lost},
};

/// From one event to the next, while nothing changes: a caller that hears nothing for twice as
/// long has lost its agent.
pub(in crate::serve) const BOOKMARK: Duration = Duration::from_secs(30);

/// A caller's view of a service.
pub(in crate::serve) struct Watcher {
    agent: Arc<Agent>,
    identity: Identity,
    /// As the caller called it.
    name: String,
    asked: ServiceRef,
    changes: watch::Receiver<u64>,
    ended: ShutdownSignal,
    /// The version that the caller says it knows.
    since: Option<u64>,
    sent: Option<View>,
    _permit: Permit<Identity>,
}

/// What there was to see at one time.
struct View {
    service: Arc<Service>,
    ports: Range<usize>,
}

impl Agent {
    /// Begins to watch a service.
    ///
    /// # Errors
    /// When a field can't be right or the name leads nowhere, or there are too many watches.
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
        // What there is to see is looked at once more when the first event is asked for.
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
    /// There will be none: the service is gone, or the agent ends.
    pub(in crate::serve) async fn next(&mut self) -> Result<v1::WatchEvent, Error> {
        let bookmark = Instant::now() + BOOKMARK;
        loop {
            // In this order, a change that comes after the look is looked at as well.
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

    /// What differs from what was told last, if anything does.
    fn next_change(&mut self) -> Result<Option<v1::WatchEvent>, Error> {
        // What it may ask for can change while it watches.
        self.agent.resolver.admit(self.identity, &self.asked)?;
        let now = View::of(&self.agent, self.identity, &self.asked)
            .map_err(|error| lost(&self.name, error, Duration::ZERO))?;
        let known = self.sent.as_ref().map(|sent| sent.service.version).or(self.since);
        if known == Some(now.service.version) {
            let first = self.sent.is_none();
            self.sent = Some(now);
            // At first, so that the caller knows that it has missed nothing.
            return Ok(first.then(|| self.event(Type::Bookmark, Vec::new(), Vec::new())));
        }
        let (kind, upserted, removed) = match &self.sent {
            None => (Type::Snapshot, now.by_address().into_values().collect(), Vec::new()),
            Some(before) => {
                let (upserted, removed) = now.differs_from(before);
                // Something else of the service changed: only its version is new.
                let nothing = upserted.is_empty() && removed.is_empty();
                (if nothing { Type::Bookmark } else { Type::Delta }, upserted, removed)
            }
        };
        let upserted = upserted.into_iter().map(endpoint_of_source).collect();
        let removed = removed.iter().map(ToString::to_string).collect();
        self.sent = Some(now);
        Ok(Some(self.event(kind, upserted, removed)))
    }

    /// An event of the state told last.
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

impl View {
    fn of(agent: &Agent, identity: Identity, asked: &ServiceRef) -> Result<Self, LookupError> {
        let catalog = agent.resolver.catalog();
        let (service, ports) = all_ports(catalog, catalog.lookup_by(Some(identity), asked))?;
        Ok(Self { service, ports })
    }

    /// Ports may share endpoints: each is seen once.
    fn by_address(&self) -> BTreeMap<SocketAddr, &Endpoint> {
        let ports = &self.service.ports[self.ports.clone()];
        let endpoints = ports.iter().flat_map(|port| port.endpoints.iter());
        endpoints.map(|endpoint| (endpoint.address, endpoint)).collect()
    }

    /// Endpoints that are new or have changed, and addresses that are gone.
    fn differs_from(&self, before: &Self) -> (Vec<&Endpoint>, Vec<SocketAddr>) {
        let (before, now) = (before.by_address(), self.by_address());
        let gone = before.keys().filter(|address| !now.contains_key(address)).copied().collect();
        let same = |a: &Endpoint, b: &Endpoint| {
            // Not all that a source says of an endpoint is shown.
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
