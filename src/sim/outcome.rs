//! What a run measured.

use super::{queue::Nanos, server::Server};

/// What a run measured, over its measured requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The median latency.
    pub p50: Nanos,
    /// The latency that one request in a hundred exceeded.
    pub p99: Nanos,
    /// The latency that one request in a thousand exceeded.
    pub p999: Nanos,
    /// The requests in flight of the busiest endpoint over those of the mean endpoint, averaged over time.
    pub max_over_mean: f64,
    /// The part of the requests that left their caller's zone.
    pub cross_zone: f64,
    /// Each endpoint's part of the requests.
    pub shares: Vec<f64>,
    /// The requests for which the chooser found no endpoint.
    pub refused: u64,
}

/// Collects the measurements of an [`Outcome`].
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
        // Without a request in flight there is no imbalance to measure.
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

/// The value that `part` of `values` do not exceed. 0 without values. Reorders them.
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
