//! The brake on mass removal. One wrong selector, or one wrong line in a file, empties a service in
//! ten milliseconds. Endpoints that still run need not go that fast.
//!
//! If updates within [`WINDOW`] remove all of a port's endpoints, or more than half of at least
//! [`FEWEST`], the removed ones stay as `braked` (the last priority) for [`HOLD`], or until a
//! connection to them fails. The brake treats every source alike, a person's edit of a file
//! included.
//!
//! What counts:
//! - Only endpoints that were taking traffic: ready, with a weight above 0. An endpoint that drained
//!   first goes at once. So a removal in two steps (`health: draining` or `weight: 0`, then remove)
//!   never brakes, and neither does a Kubernetes roll-out.
//! - The total is the removed endpoints plus those that are ready now. Replacing every endpoint by as
//!   many others that are ready is no loss, in one update or in two.
//! - Only endpoints that vanish from the list. An intended change takes effect at once, and also
//!   releases what the brake holds: a service that is deleted as a whole, a port that is gone, and
//!   endpoints that are not [eligible](super::eligibility).
//! - Each port is judged by itself, since a caller of an emptied port has nothing left.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use self::ports::{PortKey, followed, is_placeholder, key};
use super::model::{Endpoint, Health, Port, Service};

mod ports;

/// Removals within this time count together. Range 1 s to 60 s. A large service has several slices,
/// which its controller writes within seconds.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How long removed endpoints stay. Range 10 s to 10 min: long enough for a person to see the alert
/// and undo the change, short enough for an intended removal.
pub const HOLD: Duration = Duration::from_secs(60);

/// With fewer endpoints than this, losing more than half is an everyday roll-out, and only the loss
/// of all of them brakes. Range 2 to 100.
pub const FEWEST: usize = 4;

/// The endpoints that updates removed from one service lately.
#[derive(Debug, Default)]
pub(super) struct Brake {
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    port: PortKey,
    endpoint: Endpoint,
    at: Duration,
    held_until: Option<Duration>,
}

impl Brake {
    /// Records what the update from `before` to `after` removes, both as the source tells them.
    /// Returns true if it brakes some of that from now on.
    pub(super) fn observe(&mut self, before: &Service, after: &Service, now: Duration) -> bool {
        self.forget(now);
        let known = before.ports.iter().filter(|_| !is_placeholder(before)).map(key);
        let ports = followed(self.taken.iter().map(|it| it.port.clone()).chain(known), after);
        let present: HashMap<PortKey, HashSet<SocketAddr>> = after
            .ports
            .iter()
            .map(|port| (key(port), port.endpoints.iter().map(|e| e.address).collect()))
            .collect();
        let still_there = |key: &PortKey, endpoint: &Endpoint| {
            present.get(key).is_some_and(|addresses| addresses.contains(&endpoint.address))
        };
        self.taken.retain_mut(|taken| {
            let Some(port) = ports.get(&taken.port) else { return false };
            taken.port.clone_from(port);
            after.eligibility.takes_traffic(&taken.endpoint) && !still_there(port, &taken.endpoint)
        });
        for port in &before.ports {
            let Some(key) = ports.get(&key(port)) else { continue };
            let served = |it: &&Endpoint| {
                before.eligibility.takes_traffic(it) && after.eligibility.takes_traffic(it)
            };
            for endpoint in port.endpoints.iter().filter(served) {
                if !still_there(key, endpoint) {
                    self.taken.push(Taken {
                        port: key.clone(),
                        endpoint: endpoint.clone(),
                        at: now,
                        held_until: None,
                    });
                }
            }
        }
        let renamed: HashSet<&PortKey> =
            ports.iter().filter(|(old, new)| old != new).map(|(_, new)| new).collect();
        self.judge(after, &renamed, now)
    }

    /// Returns true if more is held than before. A renamed port raises no alarm: endpoints refer to
    /// a port by its name, and will be listed under the new one in a moment.
    fn judge(&mut self, after: &Service, renamed: &HashSet<&PortKey>, now: Duration) -> bool {
        let mut keys: Vec<PortKey> = self.taken.iter().map(|taken| taken.port.clone()).collect();
        keys.sort();
        keys.dedup();
        let mut braked = false;
        for key in keys {
            let endpoints = find(after, &key).map_or(&[][..], |port| &*port.endpoints);
            let ready = endpoints.iter().filter(|it| after.eligibility.takes_traffic(it)).count();
            // Older removals were judged before.
            let recent = |taken: &Taken| taken.is_recent(now);
            let of_port = |taken: &Taken| taken.port == key;
            let lost = self.taken.iter().filter(|it| recent(it) && of_port(it)).count();
            let total = lost + ready;
            let replaced = ready > 0 && 2 * lost <= total;
            if replaced || ready > 0 && total < FEWEST {
                // As many others came after the removal.
                let over = |it: &&mut Taken| replaced && recent(it) && of_port(it);
                self.taken.iter_mut().filter(over).for_each(|taken| taken.held_until = None);
                continue;
            }
            for taken in self.taken.iter_mut().filter(|taken| of_port(taken)) {
                if taken.held_until.is_none() {
                    taken.held_until = Some(now + HOLD);
                    braked |= !renamed.contains(&key);
                }
            }
        }
        braked
    }

    /// Adds the held endpoints to a service, which has only its eligible ones.
    pub(super) fn hold(&self, mut service: Service) -> Service {
        let held: Vec<&Taken> =
            self.taken.iter().filter(|taken| taken.held_until.is_some()).collect();
        if held.is_empty() {
            return service;
        }
        let endpoints = service.ports.iter().flat_map(|port| port.endpoints.iter());
        let ready =
            endpoints.filter(|endpoint| service.eligibility.takes_traffic(endpoint)).count();
        service.notes.push(format!(
            "{NOTE}{lost} of {total} endpoints disappeared within {window} s; they stay as the \
             last choice for {hold} s, or until a connection to them fails; if you removed them on \
             purpose, wait, or remove in two steps (first draining, then gone)",
            lost = held.len(),
            total = held.len() + ready,
            window = WINDOW.as_secs(),
            hold = HOLD.as_secs(),
        ));
        if is_placeholder(&service) {
            service.ports.clear();
        }
        for taken in held {
            let endpoint =
                Endpoint { braked: true, health: Health::Ready, ..taken.endpoint.clone() };
            let index = service.ports.iter().position(|port| key(port) == taken.port);
            let index = index.unwrap_or_else(|| {
                let (name, number) = taken.port.clone();
                service.ports.push(Port { name, number, endpoints: Arc::from([]) });
                service.ports.len() - 1
            });
            let port = &mut service.ports[index];
            port.endpoints = port.endpoints.iter().cloned().chain([endpoint]).collect();
        }
        service
    }

    /// Ends the holds that are over. Returns true if one ended.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        let held = self.held();
        self.forget(now);
        self.held() != held
    }

    /// A connection to this endpoint failed, so it is gone. Returns true if it was held.
    pub(super) fn connection_failed(&mut self, address: SocketAddr) -> bool {
        let held = self.held();
        self.taken.retain(|t| t.held_until.is_none() || t.endpoint.address != address);
        self.held() != held
    }

    /// Forgets removals that no longer count. What is held stays: its end changes the service.
    pub(super) fn forget_removals(&mut self, now: Duration) {
        self.taken.retain(|taken| taken.held_until.is_some() || taken.is_recent(now));
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.taken.iter().filter_map(|taken| taken.held_until).min()
    }

    pub(super) fn held(&self) -> usize {
        self.taken.iter().filter(|taken| taken.held_until.is_some()).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    fn forget(&mut self, now: Duration) {
        self.taken.retain(|taken| match taken.held_until {
            Some(until) => now < until,
            None => taken.is_recent(now),
        });
    }
}

impl Taken {
    fn is_recent(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) <= WINDOW
    }
}

/// The prefix of the note on a service with held endpoints.
const NOTE: &str = "brake: ";

/// The brake's note on a service, if it holds endpoints.
pub fn note(service: &Service) -> Option<&str> {
    service.notes.iter().map(String::as_str).find(|note| note.starts_with(NOTE))
}

fn find<'a>(service: &'a Service, wanted: &PortKey) -> Option<&'a Port> {
    service.ports.iter().find(|port| key(port) == *wanted)
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
