//! How many cases, and which.

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// So many, and the same each time, unless PROPTEST_CASES and PROPTEST_RNG_SEED say otherwise.
pub(crate) fn cases(many: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: std::env::var_os("PROPTEST_CASES").map_or(many, |_| asked.cases),
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed => fixed,
        },
        failure_persistence: None,
        ..asked
    }
}
