//! The brake on mass removal: one wrong selector, or one wrong line in a file, empties a service
//! in ten milliseconds, and nothing that still runs needs to go that fast.
//!
//! If updates within [`WINDOW`] take all, or more than half of at least [`FEWEST`], of a port's
//! endpoints, those taken stay as `braked` (the last priority) for [`HOLD`], or until a connection
//! to them fails. It holds for every source alike, a person's edit of a file too.
//!
//! What counts:
//! - Only endpoints that were taking traffic: ready, of a weight above 0. What drained first goes
//!   at once, so a removal in two steps (`health: draining` or `weight: 0`, then remove) is never
//!   braked, and neither is a Kubernetes roll-out.
//! - "Of" is what was taken plus what is ready now: replacing every endpoint by as many others
//!   that are ready is no loss, in one update or in two.
//! - Only what vanished from the list. What the source asks for on purpose is obeyed at once, and rules
//!   out what is held as well: a service that it deletes as a whole, a port that is no more, and what
//!   the [terms](super::terms) don't let serve.
//! - Ports are judged one by one, since a caller of an emptied port has nothing left.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use self::ports::{PortKey, followed, is_placeholder, key};
use super::model::{Endpoint, Health, Port, Service};

mod ports;

/// Removals this far apart count together. Range 1 s to 60 s; DESIGN: a large service is several
/// slices, which its controller writes within seconds.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How long what was taken stays. Range 10 s to 10 min; long enough for a person to see the alert
/// and undo, short enough that a wanted removal needs no second thought.
pub const HOLD: Duration = Duration::from_secs(60);

/// With fewer endpoints than this, losing more than half is an everyday roll-out; only the loss of
/// all brakes then. Range 2 to 100.
pub const FEWEST: usize = 4;

/// What updates took of one service lately.
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
    /// Notes what the step from `before` to `after` takes, both as the source says them.
    /// True: it brakes some of that from now on.
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

    /// What is held of a renamed port is no alarm: endpoints go by the port's name, and are listed by
    /// the new one in a moment.
    fn judge(&mut self, after: &Service, renamed: &HashSet<&PortKey>, now: Duration) -> bool {
        let mut keys: Vec<PortKey> = self.taken.iter().map(|taken| taken.port.clone()).collect();
        keys.sort();
        keys.dedup();
        let mut braked = false;
        for key in keys {
            let endpoints = find(after, &key).map_or(&[][..], |port| &*port.endpoints);
            let ready = endpoints.iter().filter(|it| after.eligibility.takes_traffic(it)).count();
            // What is held since longer was judged before.
            let recent = |taken: &Taken| now.saturating_sub(taken.at) <= WINDOW;
            let of_port = |taken: &Taken| taken.port == key;
            let lost = self.taken.iter().filter(|it| recent(it) && of_port(it)).count();
            let total = lost + ready;
            let replaced = ready > 0 && 2 * lost <= total;
            if replaced || ready > 0 && total < FEWEST {
                // As many others came after it was taken.
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

    /// The service, which is on its terms, as it is to be served: with what is held.
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
            "{NOTE}{lost} of {total} endpoints went within {window} s; they stay as the last \
             resort for {hold} s, or until a connection to them fails; if that was meant, wait, or \
             remove in two steps (first draining, then gone)",
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

    /// Ends what is over. True: something held is gone.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        let held = self.held();
        self.forget(now);
        self.held() != held
    }

    /// A connection to this endpoint failed: it is gone indeed. True: it was held.
    pub(super) fn connection_failed(&mut self, address: SocketAddr) -> bool {
        let held = self.held();
        self.taken.retain(|t| t.held_until.is_none() || t.endpoint.address != address);
        self.held() != held
    }

    /// When the next hold ends.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.taken.iter().filter_map(|taken| taken.held_until).min()
    }

    /// How many endpoints are held.
    pub(super) fn held(&self) -> usize {
        self.taken.iter().filter(|taken| taken.held_until.is_some()).count()
    }

    /// Nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    fn forget(&mut self, now: Duration) {
        self.taken.retain(|taken| match taken.held_until {
            Some(until) => now < until,
            None => now.saturating_sub(taken.at) <= WINDOW,
        });
    }
}

/// How the note on a service begins of which it holds something.
const NOTE: &str = "brake: ";

/// What it holds of a service, for a person; none where it holds nothing.
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
