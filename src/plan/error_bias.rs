//! Steers away from errors, before and beside ejection. The weight falls with the success rate
//! compared with the rest of the same priority, so that a failure that all endpoints share moves nothing.

use super::{Draft, Factor, Inputs, State, baseline::Baselines};
use crate::load::Counts;

/// The exponent: with half of the others' success rate, a quarter of the weight is left.
const POWER: i32 = 2;
/// The least factor, so that an endpoint still gets requests that show its recovery.
const FLOOR: f64 = 0.1;
/// Each endpoint is credited with so many requests at the others' success rate, so that one early
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
        let baselines = Baselines::of(draft, &seen);
        for (index, own) in seen.iter().enumerate() {
            if own.failed == 0 || draft.endpoints[index].state == State::Out {
                continue;
            }
            let priority = draft.endpoints[index].endpoint.priority;
            let others = baselines.for_others_than(own, priority);
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

/// The counts by which each endpoint is judged: the last ten seconds, without those before an
/// ejection.
pub(super) fn judged(inputs: &Inputs<'_>, draft: &Draft) -> Vec<Counts> {
    inputs
        .loads
        .iter()
        .zip(&draft.endpoints)
        .map(|(load, planned)| load.ring.sum(inputs.now, planned.outlier_state().since))
        .collect()
}
