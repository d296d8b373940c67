//! A mean-field model of the pick of two choices: which share of the picks each endpoint gets from
//! draw weights and scores, and which draw weights give the wanted shares.
//!
//! Each endpoint is a queue of its own. A request arrives as often as the endpoint is among the
//! candidates and wins, and ends at rate 1. Whether it wins depends on the numbers in flight of the
//! others, which the model takes as independent. Nothing here overflows, whatever is in flight:
//! distributions are built from logarithms, and the number of their states is bounded.

/// The number of distinct weights. Further ones join the nearest on a logarithmic scale.
const CLASSES: usize = 8;
/// Weights closer than this are the same.
const SAME: f64 = 1.02;
/// Most rounds of the fixed point, and the change of a share at which it has settled.
const ROUNDS: usize = 80;
const SETTLED: f64 = 1e-4;
/// The largest correction of a draw weight. What needs more has no solution, or one that is far
/// from the truth: off by up to 17% of all picks without the bound, 2% with it.
const MOST_CORRECTED: f64 = 2.0;
/// States of a distribution. Where more are in flight, a state stands for several requests.
const STATES: f64 = 512.0;
/// By how much the share of a class may be off, as a part of all picks.
const TOLERANCE: f64 = 0.01;

/// Endpoints that a pick compares in the model.
pub const CHOICES: u32 = 2;

/// Draw weights that sum to 1 and give shares in the ratio of `weights`, if a pick compares two
/// endpoints and `others` more requests are in flight in the group. None: comparing can't give
/// these shares, such as if a busy heavy endpoint is always beside an idle light one.
///
/// `weights` are positive and finite, and at least two.
pub fn solve(weights: &[f64], others: f64) -> Option<Vec<f64>> {
    let sum: f64 = weights.iter().sum();
    let parts: Vec<f64> = weights.iter().map(|w| w / sum).collect();
    let (classes, class_of) = classes(&parts);
    let model = Model { classes, others };
    let factors = model.solve()?;
    let draws: Vec<f64> =
        class_of.iter().zip(&parts).map(|(class, part)| part * factors[*class]).collect();
    let sum: f64 = draws.iter().sum();
    Some(draws.into_iter().map(|draw| draw / sum).collect())
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

/// How many requests an endpoint has in flight.
struct Distribution {
    /// Requests per state.
    unit: f64,
    /// The probability of each state.
    at: Vec<f64>,
    /// The probability of each state or a higher one.
    from: Vec<f64>,
}

impl Distribution {
    /// From the logarithms of unscaled probabilities, of which one is finite.
    fn new(unit: f64, logs: &[f64]) -> Self {
        let most = logs.iter().copied().fold(f64::MIN, f64::max);
        let mut at: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
        let sum: f64 = at.iter().sum();
        at.iter_mut().for_each(|p| *p /= sum);
        let mut from = at.clone();
        for state in (0..from.len() - 1).rev() {
            from[state] += from[state + 1];
        }
        Self { unit, at, from }
    }

    /// Poisson, to far beyond its mean.
    fn poisson(mean: f64) -> Self {
        let unit = (mean / STATES).max(1.0);
        let rate = (mean / unit).max(f64::MIN_POSITIVE).ln();
        let states = (mean / unit + 8.0 * (mean / unit).sqrt() + 8.0) as usize;
        Self::birth_death(unit, states, |_| rate)
    }

    /// A birth-death process. `rate`: the logarithm of the arrival rate in a state.
    fn birth_death(unit: f64, states: usize, rate: impl Fn(usize) -> f64) -> Self {
        let mut logs = vec![0.0; states];
        for state in 1..states {
            logs[state] = logs[state - 1] + rate(state - 1) - (state as f64).ln();
        }
        Self::new(unit, &logs)
    }

    /// The mean of both, so that the rounds don't oscillate.
    fn halfway(mut self, other: &Self) -> Self {
        let half = |own: &mut Vec<f64>, other: &[f64]| {
            own.iter_mut().zip(other).for_each(|(a, b)| *a = 0.5 * (*a + b));
        };
        half(&mut self.at, &other.at);
        half(&mut self.from, &other.from);
        self
    }

    /// Probabilities that a number in flight is lower than this one's, and that it is no higher.
    fn exceeds(&self, in_flight: f64) -> (f64, f64) {
        let level = in_flight / self.unit;
        let nearest = level.round();
        let tie = (level - nearest).abs() < 1e-6;
        let above = (if tie { nearest } else { level.floor() }) as usize + 1;
        let greater = self.from.get(above).copied().unwrap_or(0.0);
        let equal = if tie { self.at.get(nearest as usize).copied().unwrap_or(0.0) } else { 0.0 };
        (greater, greater + equal)
    }
}

struct Model {
    classes: Vec<Class>,
    others: f64,
}

impl Model {
    /// By how much to multiply each class's draw weight.
    fn solve(&self) -> Option<Vec<f64>> {
        let mut factors = vec![1.0; self.classes.len()];
        let mut states: Vec<Distribution> =
            self.classes.iter().map(|c| Distribution::poisson(self.others * c.part)).collect();
        let mut missed = f64::MAX;
        for _ in 0..ROUNDS {
            let draws = self.draws(&factors);
            let shares: Vec<f64>;
            (states, shares) = self.step(&draws, states);
            let sum: f64 = shares.iter().zip(&self.classes).map(|(s, c)| s * c.count).sum();
            let share = |index: usize| shares[index] / sum;
            let misses = (self.classes.iter().enumerate())
                .map(|(index, class)| (share(index) - class.part).abs() * class.count);
            missed = misses.fold(0.0, f64::max);
            if missed < SETTLED {
                break;
            }
            for (index, (factor, class)) in factors.iter_mut().zip(&self.classes).enumerate() {
                // The square root damps: a share also depends on every other class's draws.
                let step = (class.part / share(index).max(f64::MIN_POSITIVE)).sqrt();
                *factor = (*factor * step).clamp(1.0 / MOST_CORRECTED, MOST_CORRECTED);
            }
        }
        (missed <= TOLERANCE).then_some(factors)
    }

    /// Each class's probability of one draw, per endpoint.
    fn draws(&self, factors: &[f64]) -> Vec<f64> {
        let sum: f64 = self.classes.iter().zip(factors).map(|(c, f)| c.part * c.count * f).sum();
        self.classes.iter().zip(factors).map(|(c, f)| c.part * f / sum).collect()
    }

    /// New distributions of requests in flight, and the share of one endpoint of each class.
    fn step(&self, draws: &[f64], states: Vec<Distribution>) -> (Vec<Distribution>, Vec<f64>) {
        let mut next = Vec::with_capacity(states.len());
        let mut shares = Vec::with_capacity(states.len());
        for (own, class) in self.classes.iter().enumerate() {
            let state = &states[own];
            let picked: Vec<f64> = (0..state.at.len())
                .map(|k| self.picked(own, k as f64 * state.unit / class.part, draws, &states))
                .collect();
            let rate = |k: usize| (self.others * picked[k] / state.unit).ln();
            let new = Distribution::birth_death(state.unit, picked.len(), rate).halfway(state);
            shares.push(new.at.iter().zip(&picked).map(|(p, picked)| p * picked).sum());
            next.push(new);
        }
        (next, shares)
    }

    /// Probability that a pick goes to one endpoint of this class when it has this score: it is
    /// drawn first and the other is not lower, or it is drawn after another and is lower.
    fn picked(&self, own: usize, score: f64, draws: &[f64], states: &[Distribution]) -> f64 {
        let (mut first, mut second, mut others) = (0.0, 0.0, 0.0);
        for (class, (c, draw)) in self.classes.iter().zip(draws).enumerate() {
            let count = if class == own { c.count - 1.0 } else { c.count };
            if count == 0.0 {
                continue;
            }
            let (lower, no_higher) = states[class].exceeds(score * c.part);
            others += count * draw;
            first += count * draw * no_higher;
            second += count * draw / (1.0 - draw).max(f64::EPSILON) * lower;
        }
        let first = if others > 0.0 { first / others } else { 1.0 };
        draws[own] * (first + second)
    }
}

#[cfg(test)]
mod tests;
