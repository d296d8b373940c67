//! How scores are made. A strategy is a file and a line in [`of`]. It can only set numbers in the
//! table, so every language has it when the agent has it.

mod least_request;
mod random;
mod scoring;

pub use least_request::LeastRequest;
pub use random::Random;
pub use scoring::{Observed, Strategy};

use crate::policy::StrategyName;

/// The strategy of this name.
pub fn of(name: StrategyName) -> &'static dyn Strategy {
    match name {
        StrategyName::LeastRequest => &LeastRequest,
        StrategyName::Random => &Random,
    }
}
