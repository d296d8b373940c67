//! Away from errors, before and beside ejection: the weight falls with the success rate, compared
//! with the rest of the service, so that a failure they all share moves nothing.

use super::{Draft, Factor, Inputs, State};
use crate::load::Counts;

/// How strongly: a success rate of half the others' leaves a quarter of the weight.
const POWER: i32 = 2;
/// What is left at least, so that the endpoint can show that it is well again.
const FLOOR: f64 = 0.1;
/// Requests of the others' success rate that each endpoint is credited with, so that one early
/// failure does not look like a rate of zero.
const CREDIT: f64 = 10.0;
/// Steps of the factor, so that noise makes no new plan.
const STEPS: f64 = 64.0;

/// Less weight for a lower success rate.
pub struct ErrorBias;

impl Factor for ErrorBias {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        if !inputs.policy.outlier.enabled {
            return;
        }
        let seen: Vec<Counts> = judged(inputs, draft);
        let usual = Usual::of(&seen);
        if usual.without_failures() {
            return;
        }
        for (index, own) in seen.iter().enumerate() {
            if own.failed == 0 || draft.endpoints[index].state == State::Out {
                continue;
            }
            let others = usual.for_others_than(own);
            let (succeeded, failed) = (f64::from(own.succeeded()), f64::from(own.failed));
            let rate = (succeeded + CREDIT * others) / (succeeded + failed + CREDIT);
            let bias = (rate / others.max(f64::EPSILON)).powi(POWER).clamp(FLOOR, 1.0);
            let bias = (bias * STEPS).round() / STEPS;
            if bias < 1.0 {
                let reason = format!(
                    "{} of {} requests failed in 10 s, {:.1}% of the others'",
                    own.failed,
                    own.judged(),
                    (1.0 - others) * 100.0
                );
                draft.scale(index, "error_bias", bias, reason);
            }
        }
    }
}

/// What each endpoint is judged by: the last ten seconds, less what an ejection settled.
pub(super) fn judged(inputs: &Inputs<'_>, draft: &Draft) -> Vec<Counts> {
    inputs
        .loads
        .iter()
        .zip(&draft.endpoints)
        .map(|(load, planned)| load.ring.sum(inputs.now, planned.outlier_state().since))
        .collect()
}

/// The success rate that an endpoint is held against.
///
/// The median of all requests' endpoints and not their mean: several bad endpoints would pull a
/// mean down and hide one another.
pub(super) struct Usual {
    all: Counts,
    median: f64,
}

impl Usual {
    pub(super) fn of(seen: &[Counts]) -> Self {
        let all = seen.iter().fold(Counts::default(), |sum, c| sum.plus(c));
        let mut rates: Vec<(f64, u64)> =
            seen.iter().filter_map(|c| Some((c.success_rate()?, u64::from(c.judged())))).collect();
        rates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut better = 0;
        let median = rates
            .iter()
            .find(|(_, requests)| {
                better += requests;
                better * 2 >= u64::from(all.judged())
            })
            .map_or(1.0, |(rate, _)| *rate);
        Self { all, median }
    }

    /// 0 to 1; 1 where the others had no requests. An endpoint with most of the requests would be
    /// its own median: it is held against the others' mean.
    pub(super) fn for_others_than(&self, own: &Counts) -> f64 {
        if own.judged() * 2 < self.all.judged() {
            return self.median;
        }
        let others = Counts {
            ended: self.all.judged().saturating_sub(own.judged()),
            failed: self.all.failed.saturating_sub(own.failed),
            ..Counts::default()
        };
        others.success_rate().unwrap_or(1.0)
    }

    pub(super) fn without_failures(&self) -> bool {
        self.all.failed == 0
    }
}
