//! By weight alone.

use pointsman_table::Cell;

use super::scoring::{Observed, Strategy};
use crate::policy::Policy;

/// One weighted draw, no comparison.
pub struct Random;

impl Strategy for Random {
    fn choices(&self, _policy: &Policy) -> u32 {
        1
    }

    fn scores_by_weight(&self) -> bool {
        false
    }

    fn score(&self, _observed: &Observed) -> Cell {
        Cell::default()
    }
}
