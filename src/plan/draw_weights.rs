//! Sets draw weights and choices of each group, so that each endpoint gets the share that its weight
//! asks for.
//!
//! With few requests in flight, a light endpoint among heavy ones is nearly always idle, and wins
//! whenever it is compared with a busy one. Among 19 endpoints of weight 1, one of 0.1 would get
//! far more than its part. So a group of unequal weights
//!
//! - takes its draws from the [`share_model`], which knows how comparing changes shares;
//! - or, where no draws give these shares, compares nothing: a pick takes one endpoint by weight, and
//!   shares are exact. This gives the comparison up where it says least: with few requests in flight, or
//!   beside one endpoint that is meant for half of them and more;
//! - or keeps its plain weights, once enough requests are in flight for the scores to keep the shares.

use super::{Draft, Group, Inputs, Plan, share_model, strategy};

/// From this many requests in flight at the lightest endpoint, scores alone keep the shares.
const SCORES_HOLD: f64 = 16.0;
/// With fewer other requests in flight, the model's assumption of independent endpoints is too
/// wrong. Measured in groups of 2 to 20: shares were off by up to 17% of all picks at 2 others, by
/// 2% at 3.
const FEWEST_OTHERS: f64 = 3.0;
/// An endpoint that is meant for this part of the picks or more must win nearly every time it is
/// drawn. The model covers that only from [`DOMINATED`] requests in flight at the lightest
/// endpoint.
const DOMINATES: f64 = 0.5;
const DOMINATED: f64 = 1.0;
/// The number of other requests moves in steps of this ratio, so that noise makes no new generation.
const STEP: f64 = 1.25;
/// Weights whose ratio is below this count as equal.
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
        // A group without a share gets only overflow, and then there is most to compare.
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

/// Draws that give the shares of `weights` with so many other requests in the group. `solved`: the
/// model's earlier solution for the same values, if there is one.
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

/// The draws of the previous plan, if they were solved for the same values. The model is by far the
/// most expensive part of a plan, which is made ten times a second.
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

/// Rounds to a level of a geometric scale. The previous level stays until the value is a full step
/// away. Values that are too low for the model count as 0.
fn settled(others: f64, previous: Option<f64>) -> f64 {
    match previous {
        Some(level) if others < level * STEP && others > level / STEP => level,
        _ if others < FEWEST_OTHERS => 0.0,
        _ => others,
    }
}

/// Weights that sum to 1; equal ones if the weights are unusable.
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
