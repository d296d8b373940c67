//! What a run came to.

use super::{queue::Nanos, server::Server};

/// What a run came to, over its measured requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Half of the requests took no longer.
    pub p50: Nanos,
    /// One in a hundred took longer.
    pub p99: Nanos,
    /// One in a thousand took longer.
    pub p999: Nanos,
    /// Mean over time of the busiest endpoint's requests in flight, over the mean endpoint's.
    pub max_over_mean: f64,
    /// Part of the requests that left their caller's zone.
    pub cross_zone: f64,
    /// Each endpoint's part of the requests.
    pub shares: Vec<f64>,
    /// Requests for which the chooser found nothing.
    pub refused: u64,
}

/// Gathers what becomes an [`Outcome`].
pub(super) struct Tally {
    latencies: Vec<Nanos>,
    chosen: Vec<u64>,
    crossed: u64,
    pub(super) refused: u64,
    imbalance: f64,
    samples: u64,
}

impl Tally {
    pub(super) fn new(endpoints: usize, requests: usize) -> Self {
        Self {
            latencies: Vec::with_capacity(requests),
            chosen: vec![0; endpoints],
            crossed: 0,
            refused: 0,
            imbalance: 0.0,
            samples: 0,
        }
    }

    pub(super) fn sent(&mut self, endpoint: usize, crosses: bool) {
        self.chosen[endpoint] += 1;
        self.crossed += u64::from(crosses);
    }

    pub(super) fn took(&mut self, latency: Nanos) {
        self.latencies.push(latency);
    }

    pub(super) fn sample(&mut self, servers: &[Server]) {
        let all: u64 = servers.iter().map(|s| u64::from(s.in_flight())).sum();
        let most = servers.iter().map(Server::in_flight).max().unwrap_or(0);
        // Nothing in flight is even; so is what cannot be told.
        if all > 0 {
            self.imbalance += f64::from(most) * servers.len() as f64 / all as f64;
            self.samples += 1;
        }
    }

    pub(super) fn outcome(mut self) -> Outcome {
        let sent: u64 = self.chosen.iter().sum();
        let part = |n: u64| n as f64 / sent.max(1) as f64;
        Outcome {
            p50: quantile(&mut self.latencies, 0.5),
            p99: quantile(&mut self.latencies, 0.99),
            p999: quantile(&mut self.latencies, 0.999),
            max_over_mean: self.imbalance / self.samples.max(1) as f64,
            cross_zone: part(self.crossed),
            shares: self.chosen.iter().map(|&n| part(n)).collect(),
            refused: self.refused,
        }
    }
}

/// The value that `part` of `values` do not exceed; 0 of none. Reorders them.
pub fn quantile(values: &mut [Nanos], part: f64) -> Nanos {
    if values.is_empty() {
        return 0;
    }
    let last = values.len() - 1;
    let at = ((values.len() as f64 * part).ceil() as usize).saturating_sub(1).min(last);
    *values.select_nth_unstable(at).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_value_that_enough_do_not_exceed() {
        let mut values: Vec<Nanos> = (1..=1_000).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), 500);
        assert_eq!(quantile(&mut values, 0.99), 990);
        assert_eq!(quantile(&mut values, 1.0), 1_000);
        assert_eq!(quantile(&mut [], 0.5), 0);
    }
}
