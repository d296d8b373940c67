//! Who may choose in a comparison.

use super::{
    chooser::{Exact, Random},
    outcome::Outcome,
    own_counts::OwnCounts,
    pointsman::{Pointsman, PointsmanSetup},
    scenario::Scenario,
    simulator,
};

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
