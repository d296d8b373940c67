//! Draw weights and choices of each group, so that shares come out as the weights ask.
//!
//! With few requests in flight, a light endpoint among heavy ones is nearly always idle, and so
//! wins whenever it is compared with a busy one: 19 endpoints of weight 1 and one of 0.1 give the
//! light one far more than its part. So a group of unequal weights
//!
//! - takes its draws from the [`share_model`], which knows what comparing does to shares;
//! - or, where no draws would do, compares nothing: a pick takes one endpoint by weight, and shares
//!   are exact. That costs the comparison where it says least: with few requests in flight, or
//!   beside one endpoint that is meant for half of them and more;
//! - and is left to the scores once enough is in flight for them to keep the shares.

use super::{Draft, Group, Inputs, Plan, share_model, strategy};

/// Requests in flight at the lightest endpoint from which scores alone keep the shares.
const SCORES_HOLD: f64 = 16.0;
/// Below so many others the model's independent endpoints are too far from the truth: shares were
/// off by up to 17% of all picks at 2 others, in groups of 2 to 20, and by 2% at most at 3.
const FEWEST_OTHERS: f64 = 3.0;
/// One endpoint for this part of the picks and more has to win nearly each time that it is drawn;
/// the model is good enough for that once this much is in flight at the lightest.
const DOMINATES: f64 = 0.5;
const DOMINATED: f64 = 1.0;
/// The others corrected for move in steps of this ratio, so that noise makes no generation.
const STEP: f64 = 1.25;
/// Weights closer than this are the same.
const SAME: f64 = 1.02;

/// How one pick chooses its candidates in a group.
#[derive(Clone, Debug, PartialEq)]
struct Draws {
    /// They sum to 1.
    weights: Vec<f64>,
    choices: u32,
}

/// Sets choices and draw weights of every group.
pub fn set(inputs: &Inputs<'_>, previous: Option<&Plan>, draft: &mut Draft) {
    let strategy = strategy::of(inputs.policy.strategy);
    let others = inputs.service.concurrency.others();
    draft.corrected_for = others.map(|met| settled(met, previous.and_then(|p| p.corrected_for)));
    for index in 0..draft.groups.len() {
        let group = &draft.groups[index];
        let weights: Vec<f64> =
            group.members.iter().map(|m| draft.endpoints[*m as usize].weight).collect();
        let choices = strategy.choices(inputs.policy);
        // Overflow comes to a group without a share when there is most to compare.
        let draws = match draft.corrected_for {
            Some(others) if strategy.scores_by_weight() && group.share > 0.0 => {
                let before = || {
                    previous.and_then(|p| already(p, index, draft.corrected_for, group, &weights))
                };
                draws(&weights, choices, others * group.share, before)
            }
            _ => Draws { weights: normalised(&weights), choices },
        };
        draft.groups[index].choices = draws.choices;
        for (member, draw) in draft.groups[index].members.iter().zip(draws.weights) {
            draft.endpoints[*member as usize].draw = draw;
        }
    }
}

/// Draws that give the shares of `weights` where a request meets so many others in the group.
/// `solved`: what the model gave for just this, if it was asked.
fn draws(
    weights: &[f64],
    choices: u32,
    others: f64,
    solved: impl FnOnce() -> Option<Vec<f64>>,
) -> Draws {
    let plain = normalised(weights);
    let lightest = plain.iter().copied().fold(f64::MAX, f64::min);
    let heaviest = plain.iter().copied().fold(0.0, f64::max);
    if choices < 2 || heaviest <= lightest * SAME || others * lightest >= SCORES_HOLD {
        return Draws { weights: plain, choices };
    }
    let dominated = heaviest >= DOMINATES && others * lightest < DOMINATED;
    let model_holds = others >= FEWEST_OTHERS && !dominated;
    let solution = model_holds.then(|| solved().or_else(|| share_model::solve(weights, others)));
    match solution.flatten() {
        Some(weights) => Draws { weights, choices: share_model::CHOICES },
        None => Draws { weights: plain, choices: 1 },
    }
}

/// The draws of the previous plan, where they were solved for just this: the model is by far the
/// dearest part of a plan, which is made ten times a second.
fn already(
    previous: &Plan,
    index: usize,
    others: Option<f64>,
    group: &Group,
    weights: &[f64],
) -> Option<Vec<f64>> {
    let before = previous.groups.get(index)?;
    let same = previous.corrected_for == others
        && (before.share, before.choices) == (group.share, share_model::CHOICES)
        && before.members.len() == weights.len();
    let member = |m: &u32| &previous.endpoints[*m as usize];
    (same && before.members.iter().zip(weights).all(|(m, weight)| member(m).weight == *weight))
        .then(|| before.members.iter().map(|m| member(m).draw).collect())
}

/// The level of a geometric scale; the previous one is kept until it is a full step away. Too few
/// for the model are as good as none.
fn settled(others: f64, previous: Option<f64>) -> f64 {
    match previous {
        Some(level) if others < level * STEP && others > level / STEP => level,
        _ if others < FEWEST_OTHERS => 0.0,
        _ => others,
    }
}

/// They sum to 1; equal, where the weights can't be told.
fn normalised(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    if sum.is_normal() && weights.iter().all(|weight| *weight >= 0.0) {
        weights.iter().map(|weight| weight / sum).collect()
    } else {
        vec![1.0 / weights.len() as f64; weights.len()]
    }
}

#[cfg(test)]
mod tests;
