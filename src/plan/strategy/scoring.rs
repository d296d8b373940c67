//! What a strategy is asked for, and what it knows.

use pointsman_table::Cell;

use crate::policy::Policy;

/// What a strategy knows of an endpoint when it scores it.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The plan's weight.
    pub weight: f64,
    /// In flight from this node, in cost units, shrunk for its age.
    pub in_flight: f32,
    /// The factor of shrinking, 0 to 1.
    pub shrink: f32,
}

/// How scores are made.
pub trait Strategy: Sync {
    /// How many endpoints one pick compares.
    fn choices(&self, policy: &Policy) -> u32;
    /// Whether scores include the weights. Then draw weights are corrected for that.
    fn scores_by_weight(&self) -> bool;
    /// The numbers of a slot, without a limit.
    fn score(&self, observed: &Observed) -> Cell;
}
