//! Groups endpoints by their source's priority, and within one by distance: the own zone first, the others
//! as far as it lacks capacity.
//!
//! A pick chooses the zone before the endpoint, which keeps shares exact. Comparing across zones
//! would let an idle far endpoint undo the preference. The overflow step of each pick handles a
//! momentary lack of capacity. The share of the own zone handles a lasting one: it moves slowly,
//! and never below what the zone's capacity deserves if every zone had equally many callers.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use super::{Draft, Factor, Group, Inputs, Plan, PlannedEndpoint, State, model::ZoneShare};
use crate::{
    catalog::{Endpoint, EndpointRef, hints},
    load::{BUCKETS, Counts},
    policy::ZoneMode,
};

/// How often the share may move, and how many seconds of requests show the overflow.
const SHARE_CADENCE: Duration = Duration::from_secs(2);
/// How far the share moves at a time.
const SHARE_STEP: f64 = 1.0 / 16.0;
/// The share falls above the first overflow and rises below the second. The band is wide, so that
/// the share comes to rest.
const OVERFLOW_HIGH: f64 = 0.25;
const OVERFLOW_LOW: f64 = 0.10;
/// The fewest requests that show the overflow.
const SHARE_SAMPLES: u32 = 50;
/// The longest wait for requests that began before a change. The ring forgets after as long, and if
/// requests take longer, few of them ended meanwhile.
const STRAGGLERS: Duration = Duration::from_secs(BUCKETS as u64);

/// From this score, in requests, a pick looks at another zone: one more than twice the workers that
/// an endpoint keeps busy. The p99 is within 2% of that with the number of workers known.
const SPILL_PER_BUSY: f64 = 2.0;
/// The assumed number of busy workers before the first window of requests.
const BUSY_UNKNOWN: f64 = 1.0;
/// Steps of the threshold, so that noise makes no new generation.
const SPILL_STEPS_PER_REQUEST: f64 = 8.0;
/// By how much the other zone must be better, in requests.
const SPILL_MARGIN: f32 = 1.0;

/// With `zone: strict`, excludes endpoints outside of the own zone before anything else is judged.
///
/// This is a promise, not a preference. If the zone of the endpoint or of the agent is unknown, no
/// request goes there. If neither is known, there is no zone to leave.
pub struct StrictZone;

impl Factor for StrictZone {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        if inputs.policy.zone != ZoneMode::Strict {
            return;
        }
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            let why = match (&inputs.locality.zone, &endpoint.zone) {
                (own, zone) if own == zone => continue,
                (Some(own), Some(_)) => format!("not in zone {own}"),
                (Some(own), None) => format!("not known to be in zone {own}"),
                (None, _) => "in a zone, and the agent does not know its own".to_owned(),
            };
            draft.take_out(index, State::Out, "zone", format!("{why} (zone is strict)"));
        }
    }
}

/// How near an endpoint is, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// In the own zone, or hinted for it.
    Own,
    OwnRegion,
    Elsewhere,
}

/// A class of endpoints: one of a higher tier is picked only if none of a lower tier may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// The source's priority.
    Listed(u8),
    /// The source lists them no longer.
    Braked,
}

/// The endpoints of a group have the same.
type Level = (Tier, Nearness);

/// The level of each endpoint. Hints of the source replace zones.
fn levels(inputs: &Inputs<'_>, prefer: bool) -> Vec<Level> {
    let locality = inputs.locality;
    let hinted =
        hints::preferred(inputs.endpoints, locality.node.as_deref(), locality.zone.as_deref());
    let is_own = |index: usize, endpoint: &Endpoint| match &hinted {
        Some(hinted) => hinted.binary_search(&index).is_ok(),
        None => locality.zone.is_some() && endpoint.zone == locality.zone,
    };
    let near = |(index, endpoint): (usize, &EndpointRef)| {
        if !prefer {
            Nearness::Elsewhere
        } else if is_own(index, endpoint) {
            Nearness::Own
        } else if locality.region.is_some() && endpoint.region == locality.region {
            Nearness::OwnRegion
        } else {
            Nearness::Elsewhere
        }
    };
    let level = |(index, endpoint): (usize, &EndpointRef)| match endpoint.braked {
        true => (Tier::Braked, Nearness::Elsewhere),
        false => (Tier::Listed(endpoint.priority), near((index, endpoint))),
    };
    inputs.endpoints.iter().enumerate().map(level).collect()
}

/// Makes the groups. Returns the damped share of the own zone.
pub fn group(inputs: &Inputs<'_>, previous: Option<&Plan>, draft: &mut Draft) -> ZoneShare {
    let locality = inputs.locality;
    let placed = locality.zone.is_some() || locality.node.is_some();
    let prefer = inputs.policy.zone == ZoneMode::Prefer && placed && !draft.panic;
    let levels = levels(inputs, prefer);
    for (planned, (_, near)) in draft.endpoints.iter_mut().zip(&levels) {
        planned.own_zone = *near == Nearness::Own;
    }
    let why = reason_for_one_group(inputs, draft);
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
            _ if prefer => "other zones".to_owned(),
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
            reason: why.clone(),
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
    let share = share(inputs, previous, draft, own_zone);
    set_shares(draft, &levels, share.share);
    share
}

fn is_picked(state: State) -> bool {
    matches!(state, State::Serving | State::Probing)
}

fn reason_for_one_group(inputs: &Inputs<'_>, draft: &Draft) -> String {
    match (inputs.policy.zone, &inputs.locality.zone) {
        (ZoneMode::Off, _) => "zones are off by policy".into(),
        (ZoneMode::Strict, Some(zone)) => format!("zone {zone} only, by policy"),
        (_, None) => "the agent does not know its own zone".into(),
        _ if draft.panic => "zone preference is off in panic".into(),
        (ZoneMode::Prefer, Some(_)) => String::new(),
    }
}

/// Each group overflows into the next when it is full. Into one of a higher tier it overflows only if
/// none of its endpoints may be picked.
fn link(inputs: &Inputs<'_>, draft: &mut Draft, levels: &[Level]) {
    let busy = inputs.service.busy.per_endpoint().unwrap_or(BUSY_UNKNOWN);
    let spill_at = 1.0 + SPILL_PER_BUSY * busy;
    let spill_at = (spill_at * SPILL_STEPS_PER_REQUEST).round() / SPILL_STEPS_PER_REQUEST;
    for (index, pair) in (1..).zip(levels.windows(2)) {
        let group = &mut draft.groups[index - 1];
        group.overflow = Some(index);
        let [(tier, _), (next, _)] = pair else { continue };
        if tier == next {
            group.spill_at = spill_at as f32;
        }
    }
}

/// Moves the share of the own zone after lasting overflow.
///
/// Only requests that were sent since the zones last changed show the overflow. Requests to other
/// zones from before the own zone had an endpoint are no overflow.
fn share(
    inputs: &Inputs<'_>,
    previous: Option<&Plan>,
    draft: &mut Draft,
    own_zone: bool,
) -> ZoneShare {
    let before = previous.map_or_else(ZoneShare::default, |p| p.zone_share);
    if !own_zone {
        return ZoneShare { share: 1.0, apart_since: None, ..before };
    }
    let same = previous.is_some_and(|previous| still_apart(previous, draft));
    let apart_since = before.apart_since.filter(|_| same).unwrap_or(inputs.now);
    let mut share = ZoneShare { apart_since: Some(apart_since), ..before };
    let due = share.moved_at.max(settled(inputs, apart_since)) + SHARE_CADENCE;
    if inputs.now < due {
        if share.share < 1.0 {
            draft.wake_at(due);
        }
        return share;
    }
    let since = inputs.now.saturating_sub(SHARE_CADENCE);
    let requests = |of: &dyn Fn(&PlannedEndpoint) -> bool| -> u32 {
        (inputs.loads.iter().zip(&draft.endpoints))
            .filter(|(_, planned)| of(planned))
            .map(|(load, _)| load.ring.sum(inputs.now, since))
            .fold(Counts::default(), |sum, c| sum.plus(&c))
            .ended
    };
    // Includes endpoints that are not picked now.
    let own = requests(&|planned| planned.own_zone);
    let all = requests(&|_| true);
    if all >= SHARE_SAMPLES {
        let stayed = f64::from(own) / f64::from(all) / share.share;
        let floor = deserved(inputs, draft);
        let next = if 1.0 - stayed > OVERFLOW_HIGH {
            (share.share - SHARE_STEP).max(floor)
        } else if 1.0 - stayed < OVERFLOW_LOW {
            (share.share + SHARE_STEP).min(1.0)
        } else {
            share.share
        }
        .max(floor);
        share = ZoneShare { share: next, moved_at: inputs.now, ..share };
    }
    if share.share < 1.0 {
        draft.wake_at(inputs.now + SHARE_CADENCE);
    }
    share
}

/// From when on requests that end were sent after the change: one request time later, rounded up to
/// the beginning of a bucket.
fn settled(inputs: &Inputs<'_>, changed: Duration) -> Duration {
    let longest = inputs.service.service_time.longest().unwrap_or_default();
    let clear = changed + longest.min(STRAGGLERS);
    Duration::from_secs(clear.as_secs() + u64::from(clear.subsec_nanos() > 0))
}

/// Whether every endpoint is on the same side of the own zone's border as before, and no picked
/// endpoint of the own zone is gone together with its counts.
fn still_apart(previous: &Plan, draft: &Draft) -> bool {
    let by_address = OnceCell::new();
    let find = |index: usize, before: &PlannedEndpoint| {
        let address = before.endpoint.address;
        // Between two plans the endpoints rarely change.
        let found = draft.endpoints.get(index).filter(|now| now.endpoint.address == address);
        let found = found.or_else(|| {
            let all = || draft.endpoints.iter().map(|it| (it.endpoint.address, it)).collect();
            let by_address: &HashMap<SocketAddr, &PlannedEndpoint> = by_address.get_or_init(all);
            by_address.get(&address).copied()
        });
        found.filter(|now| now.endpoint.is_same_as(&before.endpoint))
    };
    previous.endpoints.iter().enumerate().all(|(index, before)| match find(index, before) {
        Some(now) => now.own_zone == before.own_zone,
        None => !before.own_zone || before.group.is_none(),
    })
}

/// The own zone's part of the capacity, relative to an equal part of the callers.
fn deserved(inputs: &Inputs<'_>, draft: &Draft) -> f64 {
    let mut zones: Vec<_> = Vec::new();
    let (mut own, mut all) = (0.0, 0.0);
    let lowest = draft.groups.first().map(|group| group.members[0] as usize);
    let priority = lowest.map(|index| inputs.endpoints[index].priority);
    for (planned, endpoint) in draft.endpoints.iter().zip(inputs.endpoints) {
        let serves = planned.group.is_some() && Some(endpoint.priority) == priority;
        if !serves || endpoint.braked {
            continue;
        }
        all += planned.weight;
        if endpoint.zone == inputs.locality.zone {
            own += planned.weight;
        }
        if !zones.contains(&&endpoint.zone) {
            zones.push(&endpoint.zone);
        }
    }
    if all == 0.0 { 1.0 } else { (own / all * zones.len() as f64).clamp(SHARE_STEP, 1.0) }
}

/// Gives the own zone its share, and the rest to the nearest others. Groups of a higher tier get none:
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
                group.reason = "reached when nothing of a lower priority may be picked".into();
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
