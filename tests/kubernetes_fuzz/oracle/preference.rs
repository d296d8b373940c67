//! Which of the endpoints of a port an idle agent may pick.
//!
//! Duplicates that are equally healthy may disagree about a zone or a hint. Nobody says which of them
//! counts then, so an endpoint may be in the own zone "surely" or "perhaps".

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::endpoints::{Entry, Health};
use crate::objects::Place;

type Merged<'a> = BTreeMap<SocketAddr, &'a [Entry]>;
type Addresses = BTreeSet<SocketAddr>;
type Hints = fn(&Entry) -> &[String];

/// What may be picked, and whether there may be nothing to pick.
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
        // "While nothing is ready there, endpoints of the own zone that drain serve as the last ones."
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
    // All of a node are in one zone; and without a preference nothing is said of hints.
    if local || zone == "off" {
        return (ready.keys().copied().collect(), false);
    }
    (preferred(&ready, place), false)
}

/// "Hints are preferences, and all or nothing over the ready endpoints: those of nodes first, then of
/// zones." Without them the own zone is preferred.
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

/// Those of which all duplicates say so, and those of which any does.
fn split(merged: &Merged<'_>, says: impl Fn(&Entry) -> bool) -> (Addresses, Addresses) {
    let those = |is: &dyn Fn(&[Entry]) -> bool| -> Addresses {
        merged.iter().filter(|(_, same)| is(same)).map(|(address, _)| *address).collect()
    };
    (those(&|same| same.iter().all(&says)), those(&|same| same.iter().any(&says)))
}
