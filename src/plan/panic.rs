//! Panic and fail-open: when Pointsman's own judgements leave too few endpoints of a tier, they are
//! undone. What the source says stays. Too few endpoints under all of the load would only fail after the
//! others.
//!
//! Where another tier stands in, nothing is undone: the load that the rest can't carry overflows there.
//!
//! Probation is undone first. An endpoint that waits for a probe may well serve; one that is
//! ejected fails right now.

use super::{Draft, Factor, Inputs, State, Tier, tier};

/// Undoes ejections, probation and bias.
pub struct Panic;

impl Factor for Panic {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        let mut stands_in = None;
        let tiers = tier::ready(&draft.endpoints);
        // The last one first: whether it may stand in depends on nothing but itself.
        for tier in tiers.iter().rev() {
            let part = Part::of(draft, *tier, tiers.len() > 1);
            match (stands_in, part.enough(part.serving, inputs)) {
                (_, true) => stands_in = Some(*tier),
                (Some(other), false) => rely(inputs, draft, &part, other),
                (None, false) => undo_judgements(inputs, draft, &part),
            }
        }
    }
}

/// What the judgements leave of a tier.
struct Part {
    tier: Tier,
    /// Endpoints that the source calls ready.
    ready: usize,
    serving: usize,
    probing: usize,
    /// The name in notes, if there are several.
    name: String,
}

impl Part {
    fn of(draft: &Draft, tier: Tier, one_of_several: bool) -> Self {
        let count = |which: &dyn Fn(State) -> bool| {
            tier::members(&draft.endpoints, tier)
                .filter(|(_, planned)| which(planned.state))
                .count()
        };
        Self {
            tier,
            ready: count(&|_| true),
            serving: count(&|state| state == State::Serving),
            probing: count(&|state| state == State::Probing),
            name: if one_of_several { format!(" of {tier}") } else { String::new() },
        }
    }

    fn enough(&self, left: usize, inputs: &Inputs<'_>) -> bool {
        left as f64 >= self.ready as f64 * inputs.policy.panic_below
    }

    /// What is the matter, for a note.
    fn too_few(&self, inputs: &Inputs<'_>) -> String {
        format!(
            "{} of {} ready endpoints{} would be left, fewer than {:.0}%",
            self.serving,
            self.ready,
            self.name,
            inputs.policy.panic_below * 100.0
        )
    }
}

/// Lets the load that the tier can't carry overflow.
fn rely(inputs: &Inputs<'_>, draft: &mut Draft, part: &Part, other: Tier) {
    let too_few = part.too_few(inputs);
    draft.short.push(part.tier);
    draft.notes.push(format!("{too_few}: what these can't take goes to {other}"));
}

fn undo_judgements(inputs: &Inputs<'_>, draft: &mut Draft, part: &Part) {
    let too_few = part.too_few(inputs);
    if part.enough(part.serving + part.probing, inputs) {
        undo(draft, part.tier, |state| state == State::Probing);
        draft.notes.push(format!("{too_few}: those back from ejection serve without a probe"));
        return;
    }
    draft.panic.push(part.tier);
    draft.notes.push(format!("panic: {too_few}; ejections, bias and zone preference are off"));
    undo(draft, part.tier, |_| true);
}

/// Makes the tier's endpoints in some states serve, without ejection or bias.
fn undo(draft: &mut Draft, tier: Tier, which: impl Fn(State) -> bool) {
    let members = tier::members(&draft.endpoints, tier).filter(|(_, planned)| which(planned.state));
    let members: Vec<usize> = members.map(|(index, _)| index).collect();
    for index in members {
        let planned = &mut draft.endpoints[index];
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
