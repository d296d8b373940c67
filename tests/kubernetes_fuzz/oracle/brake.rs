//! What the brake may hold: docs/services-file.md, "What is wrong, and what happens then".
//!
//! "If changes within 10 s take all, or more than half of at least 4, of the endpoints of a port that
//! were ready, those stay for 60 s, as the last resort. Removing a service as a whole is not braked, and
//! neither is replacing endpoints by as many others." It is for what a source dropped: what is
//! asked for on purpose (another policy, other ports, another type) holds at once.
//!
//! An agent may see several changes as one, so any two moments count, and what may be held need not be.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use k8s_openapi::api::core::v1::ServicePort;

use super::{
    Oracle,
    endpoints::{self, Entry, Health},
    is_alias, is_reached,
};
use crate::objects::{History, Place};

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
    let Some(((_, now), before)) = moments.split_last() else { return BTreeMap::new() };
    let objects = history.now();
    let spec = &objects.services[service];
    let here = |entry: &&Entry| entry.node.as_deref() == Some(place.node);
    let mut held = BTreeMap::new();
    for (at, (_, earlier)) in before.iter().enumerate() {
        for (gone_at, later) in &moments[at + 1..] {
            if gone_at.elapsed() > HELD {
                continue;
            }
            let views = [taken(earlier, later, |_| true), taken(earlier, later, here)];
            for entry in views.into_iter().flatten() {
                if is_reached(spec, entry, place) && !has(now, entry.address) {
                    held.insert(entry.address, entry.zone.clone());
                }
            }
        }
    }
    held
}

type Moment = (tokio::time::Instant, Vec<Entry>);

/// The endpoints of a port at each moment since the Service came to be, the present one last. Slices
/// count by the families that the Service has now.
fn moments(oracle: &Oracle, history: &History, service: &str, port: &ServicePort) -> Vec<Moment> {
    let now = history.now();
    let Some(present) = now.services.get(service) else { return Vec::new() };
    let mut moments: Vec<Moment> = Vec::new();
    for (at, objects) in &history.0 {
        let Some(then) = objects.services.get(service) else { continue };
        if then.metadata.uid != present.metadata.uid || is_alias(then) {
            continue;
        }
        let ports = then.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let same = ports.iter().find(|then| then.name == port.name);
        let mut families = then.clone();
        let spec = families.spec.get_or_insert_default();
        spec.ip_families = present.spec.as_ref().and_then(|spec| spec.ip_families.clone());
        let entries = same.map(|port| endpoints::of(oracle, objects, &families, port));
        let entries = entries.unwrap_or_default();
        if moments.last().is_none_or(|(_, last)| *last != entries) {
            moments.push((*at, entries));
        }
    }
    moments
}

/// Of those that count, the ready ones that vanished from one moment to the other, where they are more
/// than may vanish at once.
fn taken<'a>(
    earlier: &'a [Entry],
    later: &'a [Entry],
    counts: impl Fn(&&Entry) -> bool,
) -> Vec<&'a Entry> {
    let ready = |entries: &'a [Entry]| -> BTreeMap<SocketAddr, &'a Entry> {
        let ready = entries.iter().filter(|entry| entry.health == Health::Ready && counts(entry));
        ready.map(|entry| (entry.address, entry)).collect()
    };
    let (before, after) = (ready(earlier), ready(later));
    let gone: Vec<&Entry> =
        before.values().filter(|entry| !has(later, entry.address)).copied().collect();
    let come: BTreeSet<_> = after.keys().filter(|address| !before.contains_key(address)).collect();
    let all = gone.len() == before.len();
    let most = before.len() >= 4 && gone.len() * 2 > before.len();
    if (all || most) && come.len() < gone.len() { gone } else { Vec::new() }
}

fn has(entries: &[Entry], address: SocketAddr) -> bool {
    entries.iter().any(|entry| entry.address == address)
}
