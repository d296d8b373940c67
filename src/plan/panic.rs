//! Panic and fail-open: when Pointsman's own judgements leave too few, they are undone; what the
//! source says stays. Too few hosts that take all the load would only fail after the others.

use super::{Draft, Influence, Inputs, Planned, State};

/// Undoes ejections, probation and bias.
pub struct Panic;

impl Influence for Panic {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        let ready = draft.endpoints.iter().filter(|e| e.is_ready()).count();
        let serving = |e: &&Planned| e.is_ready() && e.state == State::Serving;
        let left = draft.endpoints.iter().filter(serving).count();
        if ready == 0 || left as f64 >= ready as f64 * inputs.policy.panic_below {
            return;
        }
        draft.panic = true;
        draft.notes.push(format!(
            "panic: {left} of {ready} ready endpoints would be left, fewer than {:.0}%; \
             ejections, bias and zone preference are off",
            inputs.policy.panic_below * 100.0
        ));
        for (index, planned) in draft.endpoints.iter_mut().enumerate() {
            if planned.state == State::Out {
                continue;
            }
            planned.state = State::Serving;
            planned.limit = i32::MAX;
            for factor in &mut planned.factors {
                if matches!(factor.name, "ejection" | "error_bias") {
                    factor.value = 1.0;
                    factor.reason = format!("undone by panic: {}", factor.reason).into();
                }
            }
            planned.weight = planned.factors.iter().map(|f| f.value).product();
            debug_assert!(planned.weight > 0.0, "endpoint {index} is in by the source");
        }
    }
}
