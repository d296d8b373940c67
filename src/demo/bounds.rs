//! The bounds that a run of the demo has to meet.
//!
//! Both are ratios to the arm that chooses at random per request. That arm runs at the same time on equal
//! back-ends, so other load on the machine slows both. A random picker has ratios of about 1, so it
//! misses the bounds.
//!
//! Each bound lies between the results of ten runs with the real picker and of ten runs with a random one
//! (`--random`). The runs took twelve seconds each, with seeds 1 to 10, on two busy cores:
//!
//! | | real | random | bound |
//! |---|---|---|---|
//! | p99 | 0.18 to 0.21 | 1.00 | 0.45 |
//! | max/mean in flight | 0.31 to 0.39 | 0.77 to 1.09 | 0.55 |
//!
//! Each bound is about the geometric mean of the two nearest runs. The p99 of random choice is cut off at
//! the deadline, so the true ratio is smaller.

use super::{scenario::Arm, tally::Tally};

/// The largest p99 of the pick arm, as a ratio to random choice.
const P99: f64 = 0.45;

/// The largest time-averaged max/mean of requests in flight, as a ratio to random choice.
const MAX_OVER_MEAN: f64 = 0.55;

/// One bound.
pub(crate) struct Bound {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// The value of the random arm.
    pub(crate) floor: f64,
    /// The largest ratio that meets the bound.
    pub(crate) most: f64,
}

impl Bound {
    pub(crate) fn ratio(&self) -> f64 {
        self.value / self.floor
    }

    /// A NaN does not meet it, so a run that measured nothing misses its bounds.
    pub(crate) fn met(&self) -> bool {
        self.ratio() <= self.most
    }
}

/// The bounds of a run.
pub(crate) fn bounds(tally: &Tally) -> [Bound; 2] {
    let [pick, random] = [Arm::Pick, Arm::Random].map(|arm| &tally.whole[arm as usize]);
    let p99 = |arm: &super::tally::ArmTally| arm.quantile(0.99).as_secs_f64() * 1e3;
    [
        Bound { name: "p99", unit: "ms", value: p99(pick), floor: p99(random), most: P99 },
        Bound {
            name: "max/mean in flight",
            unit: "",
            value: pick.in_flight.max_over_mean,
            floor: random.in_flight.max_over_mean,
            most: MAX_OVER_MEAN,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_meets_no_bound() {
        assert!(bounds(&Tally::new()).iter().all(|bound| !bound.met()));
    }
}
