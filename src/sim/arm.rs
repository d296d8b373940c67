//! Who may choose in a comparison.

use super::{
    chooser::{Exact, Random},
    outcome::Outcome,
    own_counts::OwnCounts,
    scenario::{self, Scenario},
    shipped::Shipped,
};
use crate::policy::Policy;

/// Who chooses.
#[derive(Clone, Debug, PartialEq)]
pub enum Arm {
    /// Any endpoint.
    Random,
    /// The less loaded of two, by the truth.
    Exact,
    /// The less loaded of two, by what the caller itself has in flight.
    OwnCounts,
    /// What is shipped.
    Pointsman(Pointsman),
}

/// How what is shipped is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointsman {
    /// How the service is balanced.
    pub policy: Policy,
    /// Each agent sees only its own callers.
    pub agents_a_zone: usize,
}

impl Default for Pointsman {
    fn default() -> Self {
        Self { policy: Policy::default(), agents_a_zone: 1 }
    }
}

/// Runs a scenario with this arm.
pub fn run(scenario: &Scenario, arm: &Arm, seed: u64) -> Outcome {
    match arm {
        Arm::Random => {
            scenario::run(scenario, &mut Random::new(scenario.backends.len(), seed), seed)
        }
        Arm::Exact => scenario::run(scenario, &mut Exact::new(seed), seed),
        Arm::OwnCounts => scenario::run(scenario, &mut OwnCounts::new(scenario, seed), seed),
        Arm::Pointsman(setup) => {
            scenario::run(scenario, &mut Shipped::new(scenario, setup, seed), seed)
        }
    }
}
