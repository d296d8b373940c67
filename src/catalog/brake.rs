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
//!   that are ready is no loss.
//! - A service that a source deletes as a whole goes at once, and so does one of its ports while
//!   others keep endpoints: that is what someone meant.
//! - Ports are judged one by one, since a caller of an emptied port has nothing left.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::model::{Endpoint, Health, Port, Service};

/// Removals this far apart count together. Range 1 s to 60 s; DESIGN: a large service is several
/// slices, which its controller writes within seconds.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How long what was taken stays. Range 10 s to 10 min; long enough for a person to see the alert
/// and undo, short enough that a wanted removal needs no second thought.
pub const HOLD: Duration = Duration::from_secs(60);

/// With fewer endpoints than this, losing more than half is an everyday roll-out; only the loss of
/// all brakes then. Range 2 to 100.
pub const FEWEST: usize = 4;

type PortKey = (Option<Arc<str>>, Option<u16>);

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
    /// Notes what the step from `before` to `after` (both as the source says) takes.
    /// True: it brakes some of that from now on.
    pub(super) fn observe(&mut self, before: &Service, after: &Service, now: Duration) -> bool {
        self.forget(now);
        let present: HashMap<PortKey, HashSet<SocketAddr>> = after
            .ports
            .iter()
            .map(|port| (key(port), port.endpoints.iter().map(|e| e.address).collect()))
            .collect();
        let still_there = |key: &PortKey, endpoint: &Endpoint| {
            present.get(key).is_some_and(|addresses| addresses.contains(&endpoint.address))
        };
        self.taken.retain(|taken| !still_there(&taken.port, &taken.endpoint));
        for port in &before.ports {
            let Some(key) = key_after(before, port, after) else { continue };
            for endpoint in port.endpoints.iter().filter(|e| takes_traffic(e)) {
                if !still_there(&key, endpoint) {
                    self.taken.push(Taken {
                        port: key.clone(),
                        endpoint: endpoint.clone(),
                        at: now,
                        held_until: None,
                    });
                }
            }
        }
        self.judge(after, now)
    }

    fn judge(&mut self, after: &Service, now: Duration) -> bool {
        let mut keys: Vec<PortKey> = self.taken.iter().map(|taken| taken.port.clone()).collect();
        keys.sort();
        keys.dedup();
        let mut braked = false;
        for key in keys {
            let ready = find(after, &key).map_or(0, ready_count);
            // What is held since longer was judged before.
            let recent = |taken: &&Taken| now.saturating_sub(taken.at) <= WINDOW;
            let lost = self.taken.iter().filter(recent).filter(|taken| taken.port == key).count();
            let total = lost + ready;
            if ready > 0 && (total < FEWEST || 2 * lost <= total) {
                continue;
            }
            for taken in self.taken.iter_mut().filter(|taken| taken.port == key) {
                if taken.held_until.is_none() {
                    taken.held_until = Some(now + HOLD);
                    braked = true;
                }
            }
        }
        braked
    }

    /// The service as it is to be served: with what is held.
    pub(super) fn hold(&self, mut service: Service) -> Service {
        let held: Vec<&Taken> =
            self.taken.iter().filter(|taken| taken.held_until.is_some()).collect();
        if held.is_empty() {
            return service;
        }
        let ready: usize = service.ports.iter().map(ready_count).sum();
        service.notes.push(format!(
            "brake: {lost} of {total} endpoints went within {window} s; they stay as the last \
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
            let endpoint = Endpoint { braked: true, ..taken.endpoint.clone() };
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

fn takes_traffic(endpoint: &Endpoint) -> bool {
    endpoint.health == Health::Ready && endpoint.weight > 0
}

fn ready_count(port: &Port) -> usize {
    port.endpoints.iter().filter(|endpoint| takes_traffic(endpoint)).count()
}

fn key(port: &Port) -> PortKey {
    (port.name.clone(), port.number)
}

fn find<'a>(service: &'a Service, wanted: &PortKey) -> Option<&'a Port> {
    service.ports.iter().find(|port| key(port) == *wanted)
}

/// Under which key a port's endpoints are to be looked for afterwards; none: someone removed the
/// port, and others serve.
fn key_after(before: &Service, port: &Port, after: &Service) -> Option<PortKey> {
    if find(after, &key(port)).is_some() {
        return Some(key(port));
    }
    if is_placeholder(after) {
        return Some(key(port));
    }
    match (&before.ports[..], &after.ports[..]) {
        ([_], [renamed]) => Some(key(renamed)),
        (_, ports) if ports.iter().all(|port| port.endpoints.is_empty()) => Some(key(port)),
        _ => None,
    }
}

/// The one unnamed port of a service whose source says nothing of ports.
fn is_placeholder(service: &Service) -> bool {
    matches!(&service.ports[..], [Port { name: None, number: None, endpoints }] if endpoints.is_empty())
}

#[cfg(test)]
mod tests;
