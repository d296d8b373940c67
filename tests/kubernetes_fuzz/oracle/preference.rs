//! The endpoints of a port that an idle agent may pick.
//!
//! Equally healthy duplicates may differ in their zone or hint, and the pages do not say which counts.
//! So an endpoint is "surely" or "perhaps" in the own zone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::endpoints::{Entry, Health};
use crate::objects::Place;

type Merged<'a> = BTreeMap<SocketAddr, &'a [Entry]>;
type Addresses = BTreeSet<SocketAddr>;
type Hints = fn(&Entry) -> &[String];

/// The endpoints that may be picked, and whether there may be none.
pub fn choice(
    merged: &BTreeMap<SocketAddr, Vec<Entry>>,
    zone: &str,
    local: bool,
    place: Place,
) -> (Addresses, bool) {
    let of = |health: Health| -> Merged<'_> {
        let fit = merged.iter().filter(|(_, same)| same[0].health == health);
        fit.map(|(address, same)| (*address, same.as_slice())).collect()
    };
    let (ready, draining) = (of(Health::Ready), of(Health::Draining));
    let own = |entry: &Entry| entry.zone.as_deref() == Some(place.zone);
    if zone == "strict" {
        // While nothing is ready in the own zone, its draining endpoints serve as the last choice.
        let (surely, mut perhaps) = split(&ready, own);
        if !surely.is_empty() {
            return (perhaps, false);
        }
        let (surely, drain) = split(&draining, own);
        perhaps.extend(drain);
        return (perhaps, surely.is_empty());
    }
    if ready.is_empty() {
        return (draining.keys().copied().collect(), draining.is_empty());
    }
    // All pods of a node are in one zone. Without a preference, hints have no effect.
    if local || zone == "off" {
        return (ready.keys().copied().collect(), false);
    }
    (preferred(&ready, place), false)
}

/// Hints are preferences, and apply to all ready endpoints or to none: first hints for nodes, then for
/// zones. Without hints the own zone is preferred.
fn preferred(ready: &Merged<'_>, place: Place) -> Addresses {
    let mut may = Addresses::new();
    let hints: [(Hints, &str); 2] =
        [(|entry| &entry.for_nodes, place.node), (|entry| &entry.for_zones, place.zone)];
    for (hints, own) in hints {
        let hinted = |entry: &Entry| !hints(entry).is_empty();
        let (surely_hinted, perhaps_hinted) = split(ready, hinted);
        let (surely, perhaps) = split(ready, |entry| hints(entry).iter().any(|hint| hint == own));
        if perhaps_hinted.len() == ready.len() {
            may.extend(&perhaps);
        }
        if surely_hinted.len() == ready.len() && !surely.is_empty() {
            return may;
        }
    }
    let (surely, perhaps) = split(ready, |entry| entry.zone.as_deref() == Some(place.zone));
    may.extend(if surely.is_empty() { ready.keys().copied().collect() } else { perhaps });
    may
}

/// The endpoints whose duplicates all match, and those of which any duplicate matches.
fn split(merged: &Merged<'_>, says: impl Fn(&Entry) -> bool) -> (Addresses, Addresses) {
    let those = |is: &dyn Fn(&[Entry]) -> bool| -> Addresses {
        merged.iter().filter(|(_, same)| is(same)).map(|(address, _)| *address).collect()
    };
    (those(&|same| same.iter().all(&says)), those(&|same| same.iter().any(&says)))
}
