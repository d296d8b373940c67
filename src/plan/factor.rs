//! What may change the weight or the state of an endpoint.

use super::{draft::Draft, inputs::Inputs};

/// Something that changes weights and states. A new one is a file beside the others and a line in
/// `FACTORS`.
pub trait Factor: Sync {
    /// Changes the draft and records the reasons.
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft);
}
