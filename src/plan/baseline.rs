//! The success rate that an endpoint is compared with.

use crate::load::Counts;

/// The success rate of the service.
///
/// The median over all requests, not the mean: several bad endpoints would pull the mean down and
/// hide one another.
pub(super) struct Baseline {
    all: Counts,
    median: f64,
}

impl Baseline {
    pub(super) fn of(seen: &[Counts]) -> Self {
        let all = seen.iter().fold(Counts::default(), |sum, c| sum.plus(c));
        let mut rates: Vec<(f64, u64)> =
            seen.iter().filter_map(|c| Some((c.success_rate()?, u64::from(c.judged())))).collect();
        rates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut better = 0;
        let median = rates
            .iter()
            .find(|(_, requests)| {
                better += requests;
                better * 2 >= u64::from(all.judged())
            })
            .map_or(1.0, |(rate, _)| *rate);
        Self { all, median }
    }

    /// The rate to compare one endpoint with, 0 to 1; 1 if the others had no requests. An endpoint
    /// with most of the requests would be its own median, so it is compared with the others' mean.
    pub(super) fn for_others_than(&self, own: &Counts) -> f64 {
        if own.judged() * 2 < self.all.judged() {
            return self.median;
        }
        let others = Counts {
            ended: self.all.judged().saturating_sub(own.judged()),
            failed: self.all.failed.saturating_sub(own.failed),
            ..Counts::default()
        };
        others.success_rate().unwrap_or(1.0)
    }

    pub(super) fn without_failures(&self) -> bool {
        self.all.failed == 0
    }
}
