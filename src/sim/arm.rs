//! The choosers of a comparison, by name.

use super::{
    chooser::{Exact, Random},
    outcome::Outcome,
    own_counts::OwnCounts,
    pointsman::{Pointsman, PointsmanSetup},
    scenario::Scenario,
    simulator,
};

/// A way to choose endpoints.
#[derive(Clone, Debug, PartialEq)]
pub enum Arm {
    /// A random endpoint.
    Random,
    /// The less loaded of two, by exact counts.
    Exact,
    /// The less loaded of two, by what the caller itself has in flight.
    OwnCounts,
    /// Pointsman itself.
    Pointsman(PointsmanSetup),
}

/// Runs a scenario with this arm.
pub fn run(scenario: &Scenario, arm: &Arm, seed: u64) -> Outcome {
    match arm {
        Arm::Random => {
            simulator::run(scenario, &mut Random::new(scenario.backends.len(), seed), seed)
        }
        Arm::Exact => simulator::run(scenario, &mut Exact::new(seed), seed),
        Arm::OwnCounts => simulator::run(scenario, &mut OwnCounts::new(scenario, seed), seed),
        Arm::Pointsman(setup) => {
            simulator::run(scenario, &mut Pointsman::new(scenario, setup, seed), seed)
        }
    }
}
