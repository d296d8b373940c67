//! The fewest requests in flight per weight, of a few endpoints drawn at random.
//!
//! Other implementations add 1 to the requests in flight. Here draws are weighted already, and the
//! `+ 1` would count the weight of an idle endpoint twice.

use pointsman_table::Cell;

use super::scoring::{Observed, Strategy};
use crate::policy::Policy;

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
        let base = observed.in_flight * slope;
        // What a caller ended since is part of what was published, so it is shrunk alike: an
        // endpoint whose only request ended is idle, not better than idle. What a caller started
        // since is certain, and counts in full.
        Cell {
            base,
            slope: slope * observed.shrink,
            knee: 0.0,
            hot_base: base,
            hot_slope: slope,
            ..Cell::default()
        }
    }
}
