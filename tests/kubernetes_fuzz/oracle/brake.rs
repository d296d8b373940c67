//! What the brake may hold: docs/services-file.md, "What is wrong, and what happens then".
//!
//! "If changes within 10 s take all, or more than half of at least 4, of the endpoints of a port that
//! were ready, those stay for 60 s, as the last resort. Removing a service as a whole is not braked, and
//! neither is replacing endpoints by as many others." It is for what a source dropped: what is
//! asked for on purpose (another policy, fewer ports, another type) holds at once. "A port that got
//! another name or number takes what is held along."
//!
//! An agent may see several changes as one, so any two moments count; what came and went between them
//! was taken, too. It watches Services and slices apart, and one watch may be behind the other, by
//! seconds after an API server's restart: so it may have known an endpoint that never stood there. And
//! what may be held need not be.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Service, ServicePort};
use tokio::time::Instant;

use super::{
    Oracle,
    endpoints::{self, Entry, Health},
    is_alias, is_reached,
};
use crate::objects::{History, Objects, Place};

/// For how long, and what it may take an agent to notice that something vanished.
const HELD: Duration = Duration::from_secs(60 + 20);

/// What may be held of this port, and the zone that it was in.
pub fn held(
    oracle: &Oracle,
    history: &History,
    service: &str,
    port: &ServicePort,
    place: Place,
) -> BTreeMap<SocketAddr, Option<String>> {
    let moments = moments(oracle, history, service, port);
    let Some((_, now)) = moments.last() else { return BTreeMap::new() };
    let objects = history.now();
    let spec = &objects.services[service];
    let views: [&dyn Fn(&Entry) -> bool; 2] =
        [&|_| true, &|entry| entry.node.as_deref() == Some(place.node)];
    let never = |entry: &Entry| moments.iter().all(|(_, then)| !has(then, entry.address));
    let known = mixed(oracle, history, service, port).into_iter();
    let known = known.filter(|entry| is_reached(spec, entry, place) && never(entry));
    let mut held: BTreeMap<_, _> = known.map(|entry| (entry.address, entry.zone)).collect();
    for (at, (gone_at, later)) in moments.iter().enumerate() {
        if gone_at.elapsed() > HELD {
            continue;
        }
        for entry in views.iter().flat_map(|counts| taken(&moments[..at], later, counts)) {
            if is_reached(spec, entry, place) && !has(now, entry.address) {
                held.insert(entry.address, entry.zone.clone());
            }
        }
    }
    held
}

type Moment = (Instant, Vec<Entry>);

/// The endpoints of a port at each moment since the Service came to be, the present one last.
fn moments(oracle: &Oracle, history: &History, service: &str, port: &ServicePort) -> Vec<Moment> {
    let now = history.now();
    let Some(present) = now.services.get(service) else { return Vec::new() };
    let mut moments: Vec<Moment> = Vec::new();
    for (at, objects) in &history.0 {
        let Some(then) = same_service(objects, present) else { continue };
        let entries = entries(oracle, objects, then, port, present);
        if moments.last().is_none_or(|(_, last)| *last != entries) {
            moments.push((*at, entries));
        }
    }
    moments
}

/// The ready endpoints that an agent may have seen lately whose Service is of one moment and its slices
/// of another.
fn mixed(oracle: &Oracle, history: &History, service: &str, port: &ServicePort) -> Vec<Entry> {
    let now = history.now();
    let Some(present) = now.services.get(service) else { return Vec::new() };
    let mut services: Vec<(Instant, &Service)> = Vec::new();
    let mut slices: Vec<(Instant, &Objects)> = Vec::new();
    for (at, objects) in &history.0 {
        if slices.last().is_none_or(|(_, last)| last.slices != objects.slices) {
            slices.push((*at, objects));
        }
        if let Some(then) = same_service(objects, present)
            && services.last().is_none_or(|(_, last)| last.spec != then.spec)
        {
            services.push((*at, then));
        }
    }
    let mut mixed = Vec::new();
    for (at, then) in &services {
        // The one that is ahead was seen when it was there, and not before.
        let lately = slices.iter().filter(|(of, _)| of.max(at).elapsed() <= HELD);
        mixed.extend(lately.flat_map(|(_, objects)| entries(oracle, objects, then, port, present)));
    }
    mixed.retain(|entry| entry.health == Health::Ready);
    mixed
}

/// The Service at this moment, where it is the present one and has endpoints.
fn same_service<'a>(objects: &'a Objects, present: &Service) -> Option<&'a Service> {
    let then = objects.services.get(present.metadata.name.as_deref()?)?;
    (then.metadata.uid == present.metadata.uid && !is_alias(then)).then_some(then)
}

/// What slices say of a port of the Service as it was then. They count by the families that the Service
/// has now.
fn entries(
    oracle: &Oracle,
    slices: &Objects,
    then: &Service,
    port: &ServicePort,
    present: &Service,
) -> Vec<Entry> {
    let ports = then.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(same) = port_before(ports, port, present) else { return Vec::new() };
    let mut families = then.clone();
    let spec = families.spec.get_or_insert_default();
    spec.ip_families = present.spec.as_ref().and_then(|spec| spec.ip_families.clone());
    endpoints::of(oracle, slices, &families, same)
}

/// "A port that got another name or number takes what is held along": the port that it was.
fn port_before<'a>(
    before: &'a [ServicePort],
    port: &ServicePort,
    present: &Service,
) -> Option<&'a ServicePort> {
    let ports = present.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let by_name = before.iter().find(|then| then.name == port.name);
    let by_number = || before.iter().find(|then| then.port == port.port);
    let only = || before.first().filter(|_| before.len() == 1 && ports.len() == 1);
    by_name.or_else(by_number).or_else(only)
}

/// Of those that count, the ready ones that vanished since some moment before, where they are more than
/// may vanish at once.
fn taken<'a>(
    before: &'a [Moment],
    later: &[Entry],
    counts: impl Fn(&Entry) -> bool,
) -> Vec<&'a Entry> {
    let ready = |entry: &&Entry| entry.health == Health::Ready && counts(entry);
    let after: BTreeSet<_> = later.iter().filter(ready).map(|entry| entry.address).collect();
    let mut since: BTreeMap<SocketAddr, &Entry> = BTreeMap::new();
    let mut taken = Vec::new();
    for (_, earlier) in before.iter().rev() {
        let first: BTreeMap<_, _> =
            earlier.iter().filter(ready).map(|entry| (entry.address, entry)).collect();
        since.extend(&first);
        let come = after.iter().filter(|address| !since.contains_key(address)).count();
        let too_many = |of: &BTreeMap<SocketAddr, &Entry>| {
            let gone = of.keys().filter(|address| !has(later, **address)).count();
            let most = of.len() >= 4 && gone * 2 > of.len();
            (gone == of.len() || most) && come < gone
        };
        if too_many(&first) || too_many(&since) {
            let gone = since.values().filter(|entry| !has(later, entry.address));
            taken = gone.copied().collect();
        }
    }
    taken
}

fn has(entries: &[Entry], address: SocketAddr) -> bool {
    entries.iter().any(|entry| entry.address == address)
}
