//! Draw weights, corrected so that shares come out as the weights ask.
//!
//! With few requests in flight, a light endpoint among heavy ones is nearly always idle, and so
//! wins whenever it is drawn against a busy one: 19 endpoints of weight 1 and one of 0.1 give the
//! light one far more than its part. How much more follows from a mean-field model of the pick:
//! each endpoint is a queue whose arrivals depend on how often it is drawn and on how often its
//! score beats another's. The draw weights are moved until the modelled shares are the asked ones.

use super::{Draft, Group, Inputs, Plan, strategy};

/// Concurrency per endpoint from which scores alone keep the shares.
const FULL: f64 = 64.0;
/// The concurrency corrected for moves in steps of this ratio, so that noise makes no generation.
const CONCURRENCY_STEP: f64 = 1.25;
/// Distinct weights told apart; further ones join their nearest on a logarithmic scale.
const CLASSES: usize = 8;
/// Rounds of the fixed point; shares are then within 1% in every case tried.
const ROUNDS: usize = 60;
/// Weights closer than this are the same.
const SAME: f64 = 1.02;

/// Sets choices and draw weights of every group.
pub fn weights(inputs: &Inputs<'_>, previous: Option<&Plan>, draft: &mut Draft) {
    let strategy = strategy::of(inputs.policy.strategy);
    let concurrency = settled(
        inputs.service.concurrency.mean().unwrap_or(0.0),
        previous.and_then(|p| p.corrected_for),
    );
    for group in 0..draft.groups.len() {
        draft.groups[group].choices = strategy.choices(inputs.policy);
        let members = draft.groups[group].members.clone();
        let weights: Vec<f64> =
            members.iter().map(|m| draft.endpoints[*m as usize].weight).collect();
        let choices = draft.groups[group].choices as usize;
        let drawn = members.len() > choices;
        let share = concurrency * draft.groups[group].share;
        let draws = if strategy.scores_by_weight() && drawn {
            match previous
                .and_then(|p| already(p, group, concurrency, &draft.groups[group], &weights))
            {
                Some(draws) => draws,
                None => corrected(&weights, choices, share),
            }
        } else {
            normalised(&weights)
        };
        for (member, draw) in members.iter().zip(draws) {
            draft.endpoints[*member as usize].draw = draw;
        }
    }
    draft.corrected_for = Some(concurrency);
}

/// The draws of the previous plan, where they were solved for just this: the model is by far the
/// dearest part of a plan, which is made ten times a second.
fn already(
    previous: &Plan,
    index: usize,
    concurrency: f64,
    group: &Group,
    weights: &[f64],
) -> Option<Vec<f64>> {
    let before = previous.groups.get(index)?;
    let same = previous.corrected_for == Some(concurrency)
        && (before.share, before.choices) == (group.share, group.choices)
        && before.members.len() == weights.len();
    let member = |m: &u32| &previous.endpoints[*m as usize];
    (same && before.members.iter().zip(weights).all(|(m, weight)| member(m).weight == *weight))
        .then(|| before.members.iter().map(|m| member(m).draw).collect())
}

/// The level of a geometric scale; the previous one is kept until the mean is a full step away.
fn settled(mean: f64, previous: Option<f64>) -> f64 {
    match previous {
        Some(level) if mean < level * CONCURRENCY_STEP && mean > level / CONCURRENCY_STEP => level,
        _ => mean,
    }
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Draw weights (they sum to 1) with which shares come out in the ratio of `weights`, at
/// `concurrency` requests in flight in the group.
pub fn corrected(weights: &[f64], choices: usize, concurrency: f64) -> Vec<f64> {
    let plain = normalised(weights);
    let count = weights.len() as f64;
    let (classes, class_of) = classes(&plain);
    if classes.len() < 2 || choices < 2 || concurrency / count > FULL || concurrency <= 0.0 {
        return plain;
    }
    let draws = Model { classes, choices, concurrency, count }.solve();
    let corrected: Vec<f64> =
        class_of.iter().zip(&plain).map(|(class, plain)| plain * draws[*class]).collect();
    normalised(&corrected)
}

/// Endpoints of nearly the same weight.
struct Class {
    /// The mean of its members' parts of all weight.
    part: f64,
    count: f64,
}

fn classes(parts: &[f64]) -> (Vec<Class>, Vec<usize>) {
    let low = parts.iter().copied().fold(f64::MAX, f64::min);
    let high = parts.iter().copied().fold(0.0, f64::max);
    let step = (high / low).powf(1.0 / (CLASSES - 1) as f64).max(SAME);
    let mut bounds: Vec<f64> = Vec::new();
    let mut sorted = parts.to_vec();
    sorted.sort_by(f64::total_cmp);
    for part in sorted {
        if bounds.last().is_none_or(|b| part > b * step) {
            bounds.push(part);
        }
    }
    let class_of: Vec<usize> =
        parts.iter().map(|p| bounds.partition_point(|b| b <= p).max(1) - 1).collect();
    let mut classes: Vec<Class> = bounds.iter().map(|_| Class { part: 0.0, count: 0.0 }).collect();
    for (part, class) in parts.iter().zip(&class_of) {
        classes[*class].part += part;
        classes[*class].count += 1.0;
    }
    for class in &mut classes {
        class.part /= class.count;
    }
    (classes, class_of)
}

/// The mean-field model of a group at a fixed concurrency.
struct Model {
    classes: Vec<Class>,
    choices: usize,
    concurrency: f64,
    count: f64,
}

impl Model {
    /// By how much to multiply each class's draw weight.
    fn solve(&self) -> Vec<f64> {
        let mut factors = vec![1.0; self.classes.len()];
        let mut states: Vec<Vec<f64>> =
            self.classes.iter().map(|c| poisson(self.concurrency * c.part)).collect();
        for _ in 0..ROUNDS {
            let draws = self.draws(&factors);
            let shares: Vec<f64>;
            (states, shares) = self.step(&draws, &states);
            let sum: f64 = shares.iter().zip(&self.classes).map(|(s, c)| s * c.count).sum();
            for ((factor, share), class) in factors.iter_mut().zip(&shares).zip(&self.classes) {
                // The square root damps: a share also depends on every other class's draws.
                *factor *= (class.part / (share / sum)).sqrt();
            }
        }
        factors
    }

    /// Each class's probability of one draw, per endpoint.
    fn draws(&self, factors: &[f64]) -> Vec<f64> {
        let sum: f64 = self.classes.iter().zip(factors).map(|(c, f)| c.part * c.count * f).sum();
        self.classes.iter().zip(factors).map(|(c, f)| c.part * f / sum).collect()
    }

    /// New distributions of requests in flight, and the share of one endpoint of each class.
    fn step(&self, draws: &[f64], states: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut next = Vec::with_capacity(states.len());
        let mut shares = Vec::with_capacity(states.len());
        for (own, class) in self.classes.iter().enumerate() {
            let arrivals: Vec<f64> = (0..states[own].len())
                .map(|k| {
                    let score = k as f64 / (class.part * self.count);
                    let beats = self.beats(own, score, draws, states);
                    self.concurrency
                        * self.candidate(own, draws)
                        * beats.powi(self.choices as i32 - 1)
                })
                .collect();
            let mut state = vec![1.0; arrivals.len()];
            for k in 1..state.len() {
                state[k] = state[k - 1] * arrivals[k - 1] / k as f64;
            }
            let sum: f64 = state.iter().sum();
            state.iter_mut().for_each(|p| *p /= sum);
            // Half of the old distribution is kept, so that the rounds don't swing.
            for (new, old) in state.iter_mut().zip(&states[own]) {
                *new = 0.5 * *new + 0.5 * old;
            }
            shares.push(state.iter().zip(&arrivals).map(|(p, a)| p * a).sum());
            next.push(state);
        }
        (next, shares)
    }

    /// Probability that an endpoint of this class is among the candidates.
    fn candidate(&self, own: usize, draws: &[f64]) -> f64 {
        let own_draw = draws[own];
        // First drawn, or drawn next after any other; further choices alike.
        let next: f64 = self
            .classes
            .iter()
            .zip(draws)
            .enumerate()
            .map(|(class, (c, d))| {
                let count = if class == own { c.count - 1.0 } else { c.count };
                count * d * own_draw / (1.0 - d)
            })
            .sum();
        (own_draw + next * (self.choices as f64 - 1.0)).min(1.0)
    }

    /// Probability that a score beats another candidate's; ties go half and half.
    fn beats(&self, own: usize, score: f64, draws: &[f64], states: &[Vec<f64>]) -> f64 {
        let (mut won, mut all) = (0.0, 0.0);
        for (class, (c, d)) in self.classes.iter().zip(draws).enumerate() {
            let count = if class == own { c.count - 1.0 } else { c.count };
            let drawn = count * d;
            all += drawn;
            let level = score * c.part * self.count;
            let tie = level.round();
            let is_tie = (level - tie).abs() < 1e-6;
            let above = (if is_tie { tie } else { level.floor() }) as usize + 1;
            let state = &states[class];
            let greater: f64 = state.get(above..).map_or(0.0, |s| s.iter().sum());
            let equal = if is_tie { state.get(tie as usize).copied().unwrap_or(0.0) } else { 0.0 };
            won += drawn * (greater + 0.5 * equal);
        }
        if all > 0.0 { won / all } else { 1.0 }
    }
}

/// Poisson probabilities up to far beyond the mean.
fn poisson(mean: f64) -> Vec<f64> {
    let length = (mean + 8.0 * mean.sqrt() + 8.0) as usize;
    let mut state = vec![1.0; length];
    for k in 1..length {
        state[k] = state[k - 1] * mean / k as f64;
    }
    let sum: f64 = state.iter().sum();
    state.iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_are_drawn_alike() {
        assert_eq!(corrected(&[1.0; 4], 2, 16.0), vec![0.25; 4]);
    }

    #[test]
    fn a_light_endpoint_among_heavy_ones_is_drawn_less_than_its_weight() {
        let mut weights = vec![1.0; 19];
        weights.push(0.1);
        let draws = corrected(&weights, 2, 16.0);
        let part = 0.1 / 19.1;
        assert!(draws[19] < part * 0.8, "{} of {part}", draws[19]);
        assert!((draws.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_load_the_draws_are_the_weights() {
        let draws = corrected(&[1.0, 1.0, 2.0], 2, 0.0);
        assert_eq!(draws, vec![0.25, 0.25, 0.5]);
    }
}
