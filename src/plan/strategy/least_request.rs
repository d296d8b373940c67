//! The fewest requests in flight per weight, of a few drawn at random.
//!
//! Without the `+ 1` of other implementations: draws are weighted already, and it would count the
//! weight twice when idle.

use pointsman_table::Cell;

use super::{Observed, Policy, Strategy};

/// The default strategy.
pub struct LeastRequest;

impl Strategy for LeastRequest {
    fn choices(&self, policy: &Policy) -> u32 {
        policy.choices
    }

    fn scores_by_weight(&self) -> bool {
        true
    }

    fn score(&self, observed: &Observed) -> Cell {
        let slope = (1.0 / observed.weight) as f32;
        Cell { base: observed.in_flight * slope, slope, ..Cell::default() }
    }
}
