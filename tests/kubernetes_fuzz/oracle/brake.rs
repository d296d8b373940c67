//! The endpoints that the brake may hold, as docs/services-file.md describes it.
//!
//! If changes within 10 s remove all of a port's ready endpoints, or more than half of at least 4, the
//! removed ones stay for 60 s as the last choice. The brake does not act when a whole service is
//! removed, or when other endpoints replace as many. It acts on endpoints that a source dropped: an
//! intended change (another policy, fewer ports, another type) applies at once. A port that gets
//! another name or number keeps what is held.
//!
//! An agent may see several changes as one, so any two moments count, and endpoints that came and went
//! in between count as removed. The agent watches Services and slices separately. One watch may be
//! behind the other, by seconds after a restart of the API server. So the agent may have known an
//! endpoint that never existed. And it does not have to hold what it may hold.

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

/// The time for which endpoints are held, and the time that an agent may need to notice a removal.
const HELD: Duration = Duration::from_secs(60 + 20);

/// An endpoint of this port that may be held, and its zone.
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

/// The endpoints of a port at each moment since the Service exists. The present moment is the last.
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

/// The ready endpoints that an agent may have seen lately, with the Service of one moment and the
/// slices of another.
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
        // The newer one was seen while it existed, and not before.
        let lately = slices.iter().filter(|(of, _)| of.max(at).elapsed() <= HELD);
        mixed.extend(lately.flat_map(|(_, objects)| entries(oracle, objects, then, port, present)));
    }
    mixed.retain(|entry| entry.health == Health::Ready);
    mixed
}

/// The Service at this moment, if it is the same Service as now and has endpoints.
fn same_service<'a>(objects: &'a Objects, present: &Service) -> Option<&'a Service> {
    let then = objects.services.get(present.metadata.name.as_deref()?)?;
    (then.metadata.uid == present.metadata.uid && !is_alias(then)).then_some(then)
}

/// The endpoints in slices for a port of an earlier state of the Service. The Service's present
/// families decide which slices count.
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

/// A port that gets another name or number keeps what is held. This is the earlier port.
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

/// The ready endpoints that disappeared since some moment before, if there are more than may disappear
/// at once.
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
