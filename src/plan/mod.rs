//! What is decided for a service at a time, with the reason of every factor.
//!
//! Pure: no clock, no IO, no randomness. What has to be remembered (ejections, a damped share)
//! lives in the previous plan.
//!
//! - [`model`]: [`Plan`], [`Group`], [`Planned`], [`Factor`]
//! - [`draft`]: a plan in the making, which factors change one after the other
//! - factors, in the order they apply: [`zone::StrictZone`], [`health`], [`capacity`],
//!   [`error_bias`], [`ejection`], [`mod@panic`]; [`evidence`]: what an ejection goes by
//! - [`zone`]: which endpoints one pick compares
//! - [`draw`]: draw weights, corrected so that shares come out as asked, by [`share_model`]
//! - [`lean`]: draws lean away from standing load
//! - [`strategy`]: how scores are made

pub mod capacity;
pub mod draft;
pub mod draw;
pub mod ejection;
pub mod error_bias;
pub mod evidence;
pub mod health;
pub mod lean;
pub mod model;
pub mod panic;
pub mod share_model;
pub mod strategy;
pub mod zone;

use std::time::Duration;

pub use draft::Draft;
pub use model::{Factor, Group, Here, Plan, Planned, Standing, State};

use crate::{
    catalog::EndpointRef,
    load::{EndpointLoad, ServiceLoad},
    policy::Policy,
};

/// All that a plan is made from.
pub struct Inputs<'a> {
    /// Settings of the service.
    pub policy: &'a Policy,
    /// Where this agent runs.
    pub here: &'a Here,
    /// The service's endpoints, in the order of the source.
    pub endpoints: &'a [EndpointRef],
    /// What was observed of each, in the same order.
    pub loads: &'a [&'a EndpointLoad],
    /// What was observed of the service.
    pub service: &'a ServiceLoad,
    /// Monotonic.
    pub now: Duration,
}

/// One influence on weights and states. A new one is a file beside the others and a line in
/// `FACTORS`.
pub trait Influence: Sync {
    /// Changes the draft and says why.
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft);
}

/// In the order they apply: first where requests may go at all and what the source says, then Pointsman's own judgements, last
/// what undoes them.
const FACTORS: &[&dyn Influence] = &[
    &zone::StrictZone,
    &health::SourceHealth,
    &capacity::SourceWeight,
    &error_bias::ErrorBias,
    &ejection::Ejection,
    &panic::Panic,
];

/// Decides anew. The version grows only where something differs from `previous`.
pub fn plan(inputs: &Inputs<'_>, previous: Option<&Plan>) -> Plan {
    let mut draft = Draft::new(inputs, previous);
    for factor in FACTORS {
        factor.apply(inputs, &mut draft);
    }
    let zone_share = zone::group(inputs, previous, &mut draft);
    draw::weights(inputs, previous, &mut draft);
    lean::lean(inputs, &mut draft);
    draft.finish(inputs, previous, zone_share)
}

#[cfg(test)]
mod tests;
