//! Steers a little away from standing load: an endpoint with more open streams than its part is
//! drawn less.
//!
//! Scores leave standing load out. An idle stream takes no capacity, and a lease that nobody
//! reports takes none at all. In a score, any part of it would decide every comparison of idle
//! endpoints, and one forgotten lease would send all requests elsewhere. Draws change gradually:
//! the more of a service's requests become standing, the more the draws follow, up to keeping
//! streams within about one of each other.

use super::{Draft, Inputs, strategy};

/// How much less an endpoint is drawn for each standing request above its part, as an exponent of
/// e. The first holds for a service whose requests all end, the second for one whose requests all
/// become standing. With the first, one forgotten lease takes 5% of the picks of a pair from its
/// endpoint. With the second, streams per endpoint have a standard deviation of 0.7.
const LEAST_PULL: f64 = 0.2;
const MOST_PULL: f64 = 1.0;
/// An endpoint keeps at least half of its draws, and gets at most twice as many.
const BOUND: f64 = 2.0;
/// Steps per doubling, so that noise makes no new generation.
const STEPS: f64 = 8.0;

/// Sets the standing bias of each endpoint's draws.
pub fn standing_bias(inputs: &Inputs<'_>, draft: &mut Draft) {
    if !strategy::of(inputs.policy.strategy).scores_by_weight() {
        return;
    }
    let pull = LEAST_PULL + (MOST_PULL - LEAST_PULL) * inputs.service.part_standing;
    for group in &draft.groups {
        let standing = |m: &u32| f64::from(inputs.loads[*m as usize].standing);
        let all: f64 = group.members.iter().map(standing).sum();
        if all == 0.0 {
            continue;
        }
        let weights: f64 = group.members.iter().map(|m| draft.endpoints[*m as usize].weight).sum();
        for member in &group.members {
            let planned = &mut draft.endpoints[*member as usize];
            let more = standing(member) - all * planned.weight / weights;
            planned.standing_bias = stepped((-pull * more).exp());
        }
        let drawn: f64 = group.members.iter().map(|m| draft.endpoints[*m as usize].drawn()).sum();
        for member in &group.members {
            draft.endpoints[*member as usize].standing_bias /= drawn;
        }
    }
}

fn stepped(factor: f64) -> f64 {
    let bounded = factor.clamp(1.0 / BOUND, BOUND);
    ((bounded.log2() * STEPS).round() / STEPS).exp2()
}
