//! How scores are made. A strategy is a file and a line in [`of`]; all it can do is set numbers
//! in the table, so that every language has it when the agent has it.

mod least_request;
mod random;

use pointsman_table::Cell;

pub use least_request::LeastRequest;
pub use random::Random;

use crate::policy::{Policy, StrategyName};

/// What a strategy knows of an endpoint when it scores it.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The plan's weight.
    pub weight: f64,
    /// In flight from this node, in cost units, shrunk for its age.
    pub in_flight: f32,
    /// By what it was shrunk, 0 to 1.
    pub shrink: f32,
}

/// How scores are made.
pub trait Strategy: Sync {
    /// How many endpoints one pick compares.
    fn choices(&self, policy: &Policy) -> u32;
    /// Whether the draw weights or the scores carry the weights; draws are corrected where scores
    /// do too.
    fn scores_by_weight(&self) -> bool;
    /// The numbers of a slot, without a limit.
    fn score(&self, observed: &Observed) -> Cell;
}

/// The strategy of this name.
pub fn of(name: StrategyName) -> &'static dyn Strategy {
    match name {
        StrategyName::LeastRequest => &LeastRequest,
        StrategyName::Random => &Random,
    }
}
