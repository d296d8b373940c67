//! Makes the plan of a service, with the reason of every factor.
//!
//! Pure: no clock, no IO, no randomness. What must be remembered (ejections, a damped share) is in
//! the previous plan.
//!
//! - [`inputs`]: what a plan is made from; [`model`]: [`Plan`], [`Group`], [`PlannedEndpoint`], [`Reason`]
//! - [`draft`]: a plan in the making, which factors change one after the other
//! - factors, in the order they apply: [`zone::StrictZone`], [`source_health`], [`source_weight`],
//!   [`error_bias`], [`ejection`], [`mod@panic`]; [`evidence`] and
//!   [`baseline`]: by what an ejection judges
//! - [`tier`]: which endpoints stand in for which; [`groups`]: which endpoints one pick compares; [`zone`]: the
//!   own zone's share of the draws
//! - [`draw_weights`]: draw weights, corrected so that shares come out as asked, by [`share_model`]
//! - [`standing_bias`]: endpoints with more standing load than their part are drawn less
//! - [`strategy`]: how scores are made

pub mod baseline;
pub mod draft;
pub mod draw_weights;
pub mod ejection;
pub mod error_bias;
pub mod evidence;
pub mod factor;
pub mod groups;
pub mod inputs;
pub mod model;
pub mod panic;
pub mod share_model;
pub mod source_health;
pub mod source_weight;
pub mod standing_bias;
pub mod strategy;
pub mod tier;
pub mod zone;

pub use draft::Draft;
pub use factor::Factor;
pub use inputs::Inputs;
pub use model::{Group, OutlierState, Plan, PlannedEndpoint, Reason, State};
pub use tier::Tier;

/// In the order they apply: first where requests may go at all and what the source tells, then
/// Pointsman's own judgements, then what undoes them.
const FACTORS: &[&dyn Factor] = &[
    &zone::StrictZone,
    &source_health::SourceHealth,
    &source_weight::SourceWeight,
    &error_bias::ErrorBias,
    &ejection::Ejection,
    &panic::Panic,
];

/// Makes a new plan. Its version grows only if something differs from `previous`.
pub fn plan(inputs: &Inputs<'_>, previous: Option<&Plan>) -> Plan {
    let mut draft = Draft::new(inputs, previous);
    for factor in FACTORS {
        factor.apply(inputs, &mut draft);
    }
    let zone_share = groups::group(inputs, previous, &mut draft);
    draw_weights::set(inputs, previous, &mut draft);
    standing_bias::standing_bias(inputs, &mut draft);
    draft.finish(inputs, previous, zone_share)
}

#[cfg(test)]
mod tests;
