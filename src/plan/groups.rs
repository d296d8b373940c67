//! Groups endpoints by their tier, and within one by distance: the own zone first, then the own region,
//! then all others.
//!
//! A pick chooses the group before the endpoint, which keeps shares exact. Comparing across groups
//! would let an idle far endpoint undo the preference. The overflow step of each pick handles a
//! momentary lack of capacity. The own zone's share, in [`zone`], handles a lasting one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draft, Group, Inputs, Plan, State, Tier, model::ZoneShare, zone};
use crate::{
    catalog::{Endpoint, EndpointRef, hints},
    policy::ZoneMode,
};

/// From this score, in requests, a pick looks at another zone: one more than twice the workers that
/// an endpoint keeps busy. The p99 is within 2% of that with the number of workers known.
const SPILL_PER_BUSY: f64 = 2.0;
/// The assumed number of busy workers before the first window of requests.
const BUSY_UNKNOWN: f64 = 1.0;
/// Steps of the threshold, so that noise makes no new generation.
const SPILL_STEPS_PER_REQUEST: f64 = 8.0;
/// By how much the other zone must be better, in requests.
const SPILL_MARGIN: f32 = 1.0;

/// How near an endpoint is, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// In the own zone, or hinted for it.
    Own,
    OwnRegion,
    Elsewhere,
}

/// The endpoints of a group have the same.
type Level = (Tier, Nearness);

/// The level of each endpoint. Hints of the source replace zones, and a tier in panic has none.
fn levels(inputs: &Inputs<'_>, draft: &Draft, prefer: bool) -> Vec<Level> {
    let locality = inputs.locality;
    let hinted = hinted(inputs);
    let is_own = |index: usize, endpoint: &Endpoint| match hinted.get(&endpoint.priority) {
        Some(Some(hinted)) => hinted.binary_search(&index).is_ok(),
        _ => locality.zone.is_some() && endpoint.zone == locality.zone,
    };
    let near = |(index, endpoint): (usize, &EndpointRef)| {
        if !prefer || draft.panic.contains(&Tier::of(endpoint)) {
            Nearness::Elsewhere
        } else if is_own(index, endpoint) {
            Nearness::Own
        } else if locality.region.is_some() && endpoint.region == locality.region {
            Nearness::OwnRegion
        } else {
            Nearness::Elsewhere
        }
    };
    let level = |(index, endpoint): (usize, &EndpointRef)| match Tier::of(endpoint) {
        Tier::Braked => (Tier::Braked, Nearness::Elsewhere),
        listed @ Tier::Listed(_) => (listed, near((index, endpoint))),
    };
    inputs.endpoints.iter().enumerate().map(level).collect()
}

/// For each priority the endpoints that the source hints for this caller; None: hints do not apply to it.
fn hinted(inputs: &Inputs<'_>) -> BTreeMap<u8, Option<Vec<usize>>> {
    let (node, zone) = (inputs.locality.node.as_deref(), inputs.locality.zone.as_deref());
    let all = inputs.endpoints.iter().map(|endpoint| &**endpoint).enumerate();
    let priorities: BTreeSet<u8> = all.clone().map(|(_, endpoint)| endpoint.priority).collect();
    let of = |priority| {
        let its = all.clone().filter(move |(_, endpoint)| endpoint.priority == priority);
        (priority, hints::preferred(its, node, zone))
    };
    priorities.into_iter().map(of).collect()
}

/// Makes the groups. Returns the damped share of the own zone.
pub fn group(inputs: &Inputs<'_>, previous: Option<&Plan>, draft: &mut Draft) -> ZoneShare {
    let locality = inputs.locality;
    let placed = locality.zone.is_some() || locality.node.is_some();
    let prefer = inputs.policy.zone == ZoneMode::Prefer && placed;
    let levels = levels(inputs, draft, prefer);
    for (planned, (_, near)) in draft.endpoints.iter_mut().zip(&levels) {
        planned.own_zone = *near == Nearness::Own;
    }
    let mut by_level: BTreeMap<Level, Vec<u32>> = BTreeMap::new();
    for (index, level) in levels.iter().enumerate() {
        if is_picked(draft.endpoints[index].state) {
            by_level.entry(*level).or_default().push(index as u32);
        }
    }
    for ((tier, near), members) in by_level {
        let place = match (near, &locality.zone, &locality.region) {
            (Nearness::Own, Some(zone), _) => format!("zone {zone}"),
            (Nearness::Own, None, _) => "hinted for this node".to_owned(),
            (Nearness::OwnRegion, _, Some(region)) => format!("region {region}"),
            _ if prefer && !draft.panic.contains(&tier) => "other zones".to_owned(),
            _ => "all".to_owned(),
        };
        let name = match tier {
            Tier::Braked => "kept by the brake".to_owned(),
            Tier::Listed(0) => place,
            Tier::Listed(priority) => format!("{place}, priority {priority}"),
        };
        for member in &members {
            draft.endpoints[*member as usize].group = Some(draft.groups.len());
        }
        draft.groups.push(Group {
            name,
            share: 0.0,
            members,
            choices: 0,
            overflow: None,
            spill_at: f32::MAX,
            spill_margin: SPILL_MARGIN,
            reason: reason_for_one_group(inputs, draft, tier),
        });
    }
    let levels: Vec<Level> =
        draft.groups.iter().map(|group| levels[group.members[0] as usize]).collect();
    link(inputs, draft, &levels);
    // Only with another group that can take a part of the draws; one of a higher tier can't.
    let own_zone = match levels[..] {
        [(first, Nearness::Own), (next, _), ..] => prefer && first == next,
        _ => false,
    };
    let share = zone::share(inputs, previous, draft, own_zone);
    set_shares(draft, &levels, share.share);
    share
}

fn is_picked(state: State) -> bool {
    matches!(state, State::Serving | State::Probing)
}

fn reason_for_one_group(inputs: &Inputs<'_>, draft: &Draft, tier: Tier) -> String {
    match (inputs.policy.zone, &inputs.locality.zone) {
        (ZoneMode::Off, _) => "zones are off by policy".into(),
        (ZoneMode::Strict, Some(zone)) => format!("zone {zone} only, by policy"),
        (_, None) => "the agent does not know its own zone".into(),
        _ if draft.panic.contains(&tier) => "zone preference is off in panic".into(),
        (ZoneMode::Prefer, Some(_)) => String::new(),
    }
}

/// Each group overflows into the next when it is full. Into one of a later tier it overflows only if
/// none of its endpoints may be picked, or if its tier has lost too many to carry its load.
fn link(inputs: &Inputs<'_>, draft: &mut Draft, levels: &[Level]) {
    let busy = inputs.service.busy.per_endpoint().unwrap_or(BUSY_UNKNOWN);
    let spill_at = 1.0 + SPILL_PER_BUSY * busy;
    let spill_at = (spill_at * SPILL_STEPS_PER_REQUEST).round() / SPILL_STEPS_PER_REQUEST;
    for (index, pair) in (1..).zip(levels.windows(2)) {
        let group = &mut draft.groups[index - 1];
        group.overflow = Some(index);
        let [(tier, _), (next, _)] = pair else { continue };
        if tier == next || draft.short.contains(tier) {
            group.spill_at = spill_at as f32;
        }
    }
}

/// Gives the own zone its share, and the rest to the nearest others. Groups of a later tier get none:
/// the own zone's share is below 1 only beside another group of its tier, which takes the rest.
fn set_shares(draft: &mut Draft, levels: &[Level], own: f64) {
    let mut left = 1.0;
    let first = levels.first().map(|(tier, _)| *tier);
    for (index, (tier, near)) in levels.iter().enumerate() {
        let group = &mut draft.groups[index];
        group.share = if index == 0 && *near == Nearness::Own { own } else { left };
        left -= group.share;
        match (tier, near) {
            (Tier::Braked, _) => {
                group.reason = "the source dropped most endpoints at once".into();
            }
            _ if Some(*tier) != first => {
                group.reason = match draft.short.is_empty() {
                    true => "reached when nothing of a lower priority may be picked",
                    false => "reached when what is left of a lower priority is full",
                }
                .into();
            }
            (_, Nearness::Own) if own < 1.0 => {
                group.reason =
                    "the own zone lacks capacity: part of the draws goes elsewhere".into();
            }
            (_, Nearness::Own) => group.reason = "the own zone is preferred".into(),
            _ if group.share == 0.0 => {
                group.reason = "reached when the preferred group is full".into();
            }
            _ => {}
        }
        if group.share == 0.0 {
            for member in group.members.clone() {
                let state = &mut draft.endpoints[member as usize].state;
                if *state == State::Serving {
                    *state = State::Standby;
                }
            }
        }
    }
}
