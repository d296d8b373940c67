//! The own zone: a promise with `zone: strict`, else a share of the draws that follows lasting overflow. The
//! share moves slowly, and never below what the zone's capacity deserves if every zone had equally many
//! callers.

use std::{cell::OnceCell, collections::HashMap, net::SocketAddr, time::Duration};

use super::{Draft, Factor, Inputs, Plan, PlannedEndpoint, State, model::ZoneShare};
use crate::{
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

/// Moves the share of the own zone after lasting overflow.
///
/// Only requests that were sent since the zones last changed show the overflow. Requests to other
/// zones from before the own zone had an endpoint are no overflow.
pub(super) fn share(
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
