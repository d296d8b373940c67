//! Away from errors, before and beside ejection: the weight falls with the success rate, compared
//! with the rest of the service, so that a failure they all share moves nothing.

use super::{Draft, Factor, Inputs, State, baseline::Baseline};
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
        let baseline = Baseline::of(&seen);
        if baseline.without_failures() {
            return;
        }
        for (index, own) in seen.iter().enumerate() {
            if own.failed == 0 || draft.endpoints[index].state == State::Out {
                continue;
            }
            let others = baseline.for_others_than(own);
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
