//! When each client had each state of the large service.

use std::{collections::HashMap, time::Duration};

use hdrhistogram::Histogram;

/// What the clients received of the large service, in the order of time for each client.
#[derive(Default)]
pub(super) struct Receipts {
    /// The state that each version is: the steps that it has.
    steps: HashMap<u64, usize>,
    by_client: Vec<Vec<(u64, Duration)>>,
}

impl Receipts {
    pub(super) fn decoded(&mut self, version: u64, steps: usize) {
        self.steps.insert(version, steps);
    }

    pub(super) fn received(&mut self, client: usize, version: u64, at: Duration) {
        if self.by_client.len() <= client {
            self.by_client.resize_with(client + 1, Vec::new);
        }
        self.by_client[client].push((version, at));
    }

    /// How many clients have the state after so many steps, or a later one.
    pub(super) fn with(&self, steps: usize) -> usize {
        let has = |receipts: &&Vec<(u64, Duration)>| {
            let newest = receipts.last().and_then(|(version, _)| self.steps.get(version));
            newest.is_some_and(|has| *has >= steps)
        };
        self.by_client.iter().filter(has).count()
    }

    /// The times from a step to its receipt by each client, or to the receipt of a later state. `written`:
    /// steps, and when each was written. A version that no client decoded counts as no receipt.
    pub(super) fn delays(&self, written: &[(usize, Duration)]) -> Histogram<u64> {
        let mut delays = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("sound bounds");
        for receipts in &self.by_client {
            let known = receipts.iter().filter_map(|(version, at)| {
                let steps = self.steps.get(version)?;
                Some((*steps, *at))
            });
            let mut known = known.peekable();
            for (steps, at) in written {
                while known.next_if(|(has, _)| has < steps).is_some() {}
                if let Some((_, received)) = known.peek() {
                    delays.saturating_record(received.saturating_sub(*at).as_micros() as u64);
                }
            }
        }
        delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_ends_with_the_first_state_that_has_the_step() {
        let ms = Duration::from_millis;
        let mut receipts = Receipts::default();
        for (client, version, at) in [(0, 10, 5), (1, 10, 6), (0, 30, 40), (1, 20, 30), (1, 30, 50)]
        {
            receipts.received(client, version, ms(at));
        }
        receipts.decoded(10, 1);
        assert_eq!((receipts.with(1), receipts.with(2)), (0, 0), "the newest is not known yet");
        receipts.decoded(30, 3);
        assert_eq!((receipts.with(3), receipts.with(4)), (2, 0));
        let delays = receipts.delays(&[(1, ms(4)), (2, ms(20)), (3, ms(22))]);
        // Client 0: 1, 20, 18. Client 1: 2, 30, 28, as nobody decoded version 20.
        assert_eq!(delays.len(), 6);
        let sum: f64 = delays.iter_recorded().map(|it| it.value_iterated_to() as f64 / 1e3).sum();
        assert!((98.5..100.0).contains(&sum), "{sum}");
    }
}
