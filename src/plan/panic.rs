//! Panic and fail-open: when Pointsman's own judgements leave too few endpoints, they are undone.
//! What the source says stays. Too few endpoints under all of the load would only fail after the
//! others.
//!
//! Probation is undone first. An endpoint that waits for a probe may well serve; one that is
//! ejected fails right now.

use super::{Draft, Factor, Inputs, State};

/// Undoes ejections, probation and bias.
pub struct Panic;

impl Factor for Panic {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        let ready = count(draft, |_| true);
        let left = count(draft, |state| state == State::Serving);
        let enough = |left: usize| left as f64 >= ready as f64 * inputs.policy.panic_below;
        if ready == 0 || enough(left) {
            return;
        }
        if enough(count(draft, |state| matches!(state, State::Serving | State::Probing))) {
            undo(draft, |state| state == State::Probing);
            draft.notes.push(format!(
                "{left} of {ready} ready endpoints would be left, fewer than {:.0}%: those back \
                 from ejection serve without a probe",
                inputs.policy.panic_below * 100.0
            ));
            return;
        }
        draft.panic = true;
        draft.notes.push(format!(
            "panic: {left} of {ready} ready endpoints would be left, fewer than {:.0}%; \
             ejections, bias and zone preference are off",
            inputs.policy.panic_below * 100.0
        ));
        undo(draft, |state| state != State::Out);
    }
}

/// Counts the ready endpoints in some states.
fn count(draft: &Draft, which: impl Fn(State) -> bool) -> usize {
    let ready = draft.endpoints.iter().filter(|planned| planned.is_ready());
    ready.filter(|planned| which(planned.state)).count()
}

/// Makes endpoints in some states serve, without ejection or bias.
fn undo(draft: &mut Draft, which: impl Fn(State) -> bool) {
    for (index, planned) in draft.endpoints.iter_mut().enumerate() {
        if !which(planned.state) {
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
