//! The number of random cases, and their seed.

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// This many, and the same each time, unless PROPTEST_CASES and PROPTEST_RNG_SEED are set.
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
