//! Which endpoints one pick compares: the own zone first, the others as far as it lacks capacity.
//!
//! Choosing the zone before the endpoint keeps shares exact; comparing across zones would let an
//! idle far endpoint undo the preference. A momentary lack is met by the overflow step of each
//! pick; a lasting one by the share of the own zone, which moves slowly and never below what its
//! capacity deserves if every zone had as many callers as any other.

use std::{cell::OnceCell, collections::HashMap, net::SocketAddr, time::Duration};

use super::{Draft, Factor, Group, Inputs, Plan, Planned, State, model::ZoneShare};
use crate::{
    catalog::{Endpoint, EndpointRef, hints},
    load::{BUCKETS, Counts},
    policy::ZoneMode,
};

/// Seconds of requests that show how many overflowed, and how often the share may move.
const SHARE_CADENCE: Duration = Duration::from_secs(2);
/// How far the share moves at a time.
const SHARE_STEP: f64 = 1.0 / 16.0;
/// Overflow above which the share falls, and below which it rises: a wide band, so that it rests.
const OVERFLOW_HIGH: f64 = 0.25;
const OVERFLOW_LOW: f64 = 0.10;
/// Requests that say something about overflow.
const SHARE_SAMPLES: u32 = 50;
/// Requests that began before a change are waited for, so long at most. The ring forgets after as long,
/// and where requests take longer than that, few of them ended meanwhile.
const STRAGGLERS: Duration = Duration::from_secs(BUCKETS as u64);

/// Score, in requests, from which another zone is looked at: one more than twice the workers an
/// endpoint keeps busy. Within 2% of the p99 of knowing the workers.
const SPILL_PER_BUSY: f64 = 2.0;
/// What is taken for the busy workers before the first window of requests.
const BUSY_UNKNOWN: f64 = 1.0;
/// Steps of the threshold, so that noise makes no new generation.
const SPILL_STEPS_PER_REQUEST: f64 = 8.0;
/// By how much the other zone must be better, in requests.
const SPILL_MARGIN: f32 = 1.0;

/// With `zone: strict`, takes what is not in the own zone out before anything is judged by it.
///
/// A promise rather than a preference: where it can't be told that an endpoint is in the own zone,
/// since the source or the agent knows none, it does not go there. Where neither knows of zones
/// there is nothing to cross.
pub struct StrictZone;

impl Factor for StrictZone {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        if inputs.policy.zone != ZoneMode::Strict {
            return;
        }
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            let why = match (&inputs.here.zone, &endpoint.zone) {
                (own, zone) if own == zone => continue,
                (Some(own), Some(_)) => format!("not in zone {own}"),
                (Some(own), None) => format!("not known to be in zone {own}"),
                (None, _) => "in a zone, and the agent was told none".to_owned(),
            };
            draft.take_out(index, State::Out, "zone", format!("{why} (zone is strict)"));
        }
    }
}

/// How near an endpoint is; the order is the preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// In the own zone, or meant for it by the source's hints.
    Own,
    OwnRegion,
    Elsewhere,
    /// Kept by the brake.
    Braked,
}

/// By endpoint. Hints of the source say what is near in place of its zones.
fn nearness(inputs: &Inputs<'_>, prefer: bool) -> Vec<Nearness> {
    let here = inputs.here;
    let hinted = hints::preferred(inputs.endpoints, here.node.as_deref(), here.zone.as_deref());
    let is_own = |index: usize, endpoint: &Endpoint| match &hinted {
        Some(hinted) => hinted.binary_search(&index).is_ok(),
        None => here.zone.is_some() && endpoint.zone == here.zone,
    };
    let near = |(index, endpoint): (usize, &EndpointRef)| {
        if endpoint.braked {
            Nearness::Braked
        } else if !prefer {
            Nearness::Elsewhere
        } else if is_own(index, endpoint) {
            Nearness::Own
        } else if here.region.is_some() && endpoint.region == here.region {
            Nearness::OwnRegion
        } else {
            Nearness::Elsewhere
        }
    };
    inputs.endpoints.iter().enumerate().map(near).collect()
}

/// Makes the groups; returns the damped share to remember.
pub fn group(inputs: &Inputs<'_>, previous: Option<&Plan>, draft: &mut Draft) -> ZoneShare {
    let here = inputs.here;
    let placed = here.zone.is_some() || here.node.is_some();
    let prefer = inputs.policy.zone == ZoneMode::Prefer && placed && !draft.panic;
    let near = nearness(inputs, prefer);
    for (planned, near) in draft.endpoints.iter_mut().zip(&near) {
        planned.own_zone = *near == Nearness::Own;
    }
    let why = reason_for_one_group(inputs, draft);
    for level in [Nearness::Own, Nearness::OwnRegion, Nearness::Elsewhere, Nearness::Braked] {
        let members: Vec<u32> = (0..near.len())
            .filter(|&i| near[i] == level && is_picked(draft.endpoints[i].state))
            .map(|i| i as u32)
            .collect();
        if members.is_empty() {
            continue;
        }
        let name = match (level, &here.zone, &here.region) {
            (Nearness::Own, Some(zone), _) => format!("zone {zone}"),
            (Nearness::Own, None, _) => "hinted for this node".to_owned(),
            (Nearness::OwnRegion, _, Some(region)) => format!("region {region}"),
            (Nearness::Braked, ..) => "kept by the brake".to_owned(),
            _ if prefer => "other zones".to_owned(),
            _ => "all".to_owned(),
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
    link(inputs, draft, &near);
    let level_of = |index: usize| draft.groups.get(index).map(|group| level(group, &near));
    // With another to give a part of the draws to; what the brake kept is none.
    let own_zone = prefer
        && level_of(0) == Some(Nearness::Own)
        && level_of(1).is_some_and(|next| next != Nearness::Braked);
    let share = share(inputs, previous, draft, own_zone);
    set_shares(draft, &near, share.share);
    share
}

fn level(group: &Group, near: &[Nearness]) -> Nearness {
    near[group.members[0] as usize]
}

fn is_picked(state: State) -> bool {
    matches!(state, State::Serving | State::Probing)
}

fn reason_for_one_group(inputs: &Inputs<'_>, draft: &Draft) -> String {
    match (inputs.policy.zone, &inputs.here.zone) {
        (ZoneMode::Off, _) => "zones are off by policy".into(),
        (ZoneMode::Strict, Some(zone)) => format!("zone {zone} only, by policy"),
        (_, None) => "the agent was told no zone".into(),
        _ if draft.panic => "zone preference is off in panic".into(),
        (ZoneMode::Prefer, Some(_)) => String::new(),
    }
}

/// Each group overflows into the next: when it is full, or, into what the brake kept, only when
/// none of it may be picked at all.
fn link(inputs: &Inputs<'_>, draft: &mut Draft, near: &[Nearness]) {
    let busy = inputs.service.busy.per_endpoint().unwrap_or(BUSY_UNKNOWN);
    let spill_at = 1.0 + SPILL_PER_BUSY * busy;
    let spill_at = (spill_at * SPILL_STEPS_PER_REQUEST).round() / SPILL_STEPS_PER_REQUEST;
    let levels: Vec<Nearness> = draft.groups.iter().map(|g| level(g, near)).collect();
    for (index, next) in levels.iter().enumerate().skip(1) {
        let group = &mut draft.groups[index - 1];
        group.overflow = Some(index);
        if *next != Nearness::Braked {
            group.spill_at = spill_at as f32;
        }
    }
}

/// Lets the share of the own zone follow lasting overflow.
///
/// Only requests that were sent while the own zone and the others were what they are say how much
/// overflows. Those to other zones from before there was an endpoint in the own one went where they
/// were meant to.
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
    let requests = |of: &dyn Fn(&Planned) -> bool| -> u32 {
        (inputs.loads.iter().zip(&draft.endpoints))
            .filter(|(_, planned)| of(planned))
            .map(|(load, _)| load.ring.sum(inputs.now, since))
            .fold(Counts::default(), |sum, c| sum.plus(&c))
            .ended
    };
    // Whether they are picked now or not.
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

/// From when on what ends was sent after this change: what a request takes later, and then at the
/// beginning of a bucket.
fn settled(inputs: &Inputs<'_>, changed: Duration) -> Duration {
    let longest = inputs.service.service_time.longest().unwrap_or_default();
    let clear = changed + longest.min(STRAGGLERS);
    Duration::from_secs(clear.as_secs() + u64::from(clear.subsec_nanos() > 0))
}

/// Whether every endpoint is on that side of the own zone's border that it was on, and none that was
/// picked there is gone, and what was counted of it.
fn still_apart(previous: &Plan, draft: &Draft) -> bool {
    let by_address = OnceCell::new();
    let find = |index: usize, before: &Planned| {
        let address = before.endpoint.address;
        // Between two plans the endpoints rarely change.
        let found = draft.endpoints.get(index).filter(|now| now.endpoint.address == address);
        let found = found.or_else(|| {
            let all = || draft.endpoints.iter().map(|it| (it.endpoint.address, it)).collect();
            let by_address: &HashMap<SocketAddr, &Planned> = by_address.get_or_init(all);
            by_address.get(&address).copied()
        });
        found.filter(|now| now.endpoint.is_same_as(&before.endpoint))
    };
    previous.endpoints.iter().enumerate().all(|(index, before)| match find(index, before) {
        Some(now) => now.own_zone == before.own_zone,
        None => !before.own_zone || before.group.is_none(),
    })
}

/// The own zone's part of the capacity, against an equal part of the callers.
fn deserved(inputs: &Inputs<'_>, draft: &Draft) -> f64 {
    let mut zones: Vec<_> = Vec::new();
    let (mut own, mut all) = (0.0, 0.0);
    for (planned, endpoint) in draft.endpoints.iter().zip(inputs.endpoints) {
        if planned.group.is_none() || endpoint.braked {
            continue;
        }
        all += planned.weight;
        if endpoint.zone == inputs.here.zone {
            own += planned.weight;
        }
        if !zones.contains(&&endpoint.zone) {
            zones.push(&endpoint.zone);
        }
    }
    if all == 0.0 { 1.0 } else { (own / all * zones.len() as f64).clamp(SHARE_STEP, 1.0) }
}

/// The own zone's share to it, the rest to the nearest others; the brake's group gets none unless
/// it is alone.
fn set_shares(draft: &mut Draft, near: &[Nearness], own: f64) {
    let mut left = 1.0;
    let groups = draft.groups.len();
    for index in 0..groups {
        let level = level(&draft.groups[index], near);
        let group = &mut draft.groups[index];
        group.share = match level {
            Nearness::Own if groups > 1 => own,
            Nearness::Braked if index > 0 => 0.0,
            _ => left,
        };
        left -= group.share;
        match level {
            Nearness::Own if own < 1.0 => {
                group.reason =
                    "the own zone lacks capacity: part of the draws goes elsewhere".into();
            }
            Nearness::Own => group.reason = "the own zone is preferred".into(),
            Nearness::Braked => group.reason = "the source dropped most endpoints at once".into(),
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
    // What is left over by groups that don't exist goes to the first.
    if let (Some(first), true) = (draft.groups.first_mut(), left > 0.0) {
        first.share += left;
    }
}
