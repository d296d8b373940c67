//! The success rate that an endpoint is compared with: that of the endpoints with its priority. Those that
//! stand in for them may be another program.

use std::collections::{BTreeMap, BTreeSet};

use super::Draft;
use crate::load::Counts;

/// The success rate of each priority.
pub(super) struct Baselines(BTreeMap<u8, Baseline>);

impl Baselines {
    /// `seen`: the outcomes of each endpoint. Those that are not ready now count, too.
    pub(super) fn of(draft: &Draft, seen: &[Counts]) -> Self {
        let all = draft.endpoints.iter().map(|planned| planned.endpoint.priority).zip(seen);
        let priorities: BTreeSet<u8> = all.clone().map(|(priority, _)| priority).collect();
        let of = |wanted| {
            let its = all.clone().filter(move |(priority, _)| *priority == wanted);
            (wanted, Baseline::of(its.map(|(_, counts)| counts)))
        };
        Self(priorities.into_iter().map(of).collect())
    }

    /// The rate to compare an endpoint of this priority with, 0 to 1; 1 if the others had no requests.
    pub(super) fn for_others_than(&self, own: &Counts, priority: u8) -> f64 {
        self.0.get(&priority).map_or(1.0, |baseline| baseline.for_others_than(own))
    }
}

/// The success rate of the endpoints of a priority.
///
/// The median over all requests, not the mean: several bad endpoints would pull the mean down and
/// hide one another.
struct Baseline {
    all: Counts,
    median: f64,
}

impl Baseline {
    fn of<'a>(seen: impl IntoIterator<Item = &'a Counts> + Clone) -> Self {
        let all = seen.clone().into_iter().fold(Counts::default(), |sum, c| sum.plus(c));
        let mut rates: Vec<(f64, u64)> = seen
            .into_iter()
            .filter_map(|c| Some((c.success_rate()?, u64::from(c.judged()))))
            .collect();
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
    fn for_others_than(&self, own: &Counts) -> f64 {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ended: u32, failed: u32) -> Counts {
        Counts { ended, failed, ..Counts::default() }
    }

    #[test]
    fn an_endpoint_is_compared_with_what_half_of_the_requests_reach() {
        let own = counts(10, 10);
        let seen = [counts(30, 15), counts(30, 0), counts(30, 3), own];
        assert_eq!(Baseline::of(&seen).for_others_than(&own), 0.9);
        let seen = [counts(30, 15), counts(40, 0), counts(0, 0), own];
        assert_eq!(Baseline::of(&seen).for_others_than(&own), 1.0, "exactly half");
        assert_eq!(Baseline::of(&[]).for_others_than(&own), 1.0);
    }

    #[test]
    fn one_with_half_of_the_requests_is_compared_with_the_others_together() {
        let (good, bad) = (counts(50, 0), counts(50, 25));
        assert_eq!(Baseline::of(&[good, bad]).for_others_than(&good), 0.5);
        let (own, others) = (counts(100, 50), [counts(10, 4), counts(10, 0)]);
        let baseline = Baseline::of(&[own, others[0], others[1]]);
        assert_eq!(baseline.for_others_than(&own), 0.8);
        assert_eq!(Baseline::of(&[own]).for_others_than(&own), 1.0, "there are no others");
    }
}
