//! Estimates how many other requests a request meets. This decides how often a pick finds endpoints
//! busy.
//!
//! It is the mean of n x (n - 1) over the mean of n, where n is the number of requests in flight at
//! a look. One caller that sends its requests one after the other meets none, however busy it is.
//! Sixteen such callers meet 15 each. Requests that come at random meet as many as are in flight on
//! average.

use std::time::Duration;

/// The time constant of the smoothing: slow against a burst, fast against a change of load.
const SMOOTHING: Duration = Duration::from_secs(2);

/// The looks at what is in flight, over a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    count: u32,
    in_flight: f64,
    pairs: f64,
}

impl Looks {
    pub fn add(&mut self, in_flight: u64) {
        let in_flight = in_flight as f64;
        self.count += 1;
        self.in_flight += in_flight;
        self.pairs += in_flight * (in_flight - 1.0).max(0.0);
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Concurrency {
    /// The means of n, and of n x (n - 1).
    means: Option<(f64, f64)>,
}

impl Concurrency {
    pub fn observe(&mut self, looks: Looks, stretch: Duration) {
        if looks.count == 0 {
            return;
        }
        let count = f64::from(looks.count);
        let new = (looks.in_flight / count, looks.pairs / count);
        let keep = (-stretch.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        let smooth = |old: f64, new: f64| old * keep + new * (1.0 - keep);
        self.means = Some(match self.means {
            Some((in_flight, pairs)) => (smooth(in_flight, new.0), smooth(pairs, new.1)),
            None => new,
        });
    }

    /// The other requests in flight that a request meets; None before there was a request.
    pub fn others(&self) -> Option<f64> {
        let (in_flight, pairs) = self.means?;
        (in_flight > f64::EPSILON).then(|| pairs / in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(looks: &[u64]) -> Option<f64> {
        let mut seen = Looks::default();
        looks.iter().for_each(|in_flight| seen.add(*in_flight));
        let mut concurrency = Concurrency::default();
        concurrency.observe(seen, Duration::from_millis(100));
        concurrency.others()
    }

    #[test]
    fn one_request_at_a_time_meets_none_and_sixteen_meet_fifteen() {
        assert_eq!(others(&[0, 1, 1, 0, 0, 1]), Some(0.0));
        assert_eq!(others(&[16; 5]), Some(15.0));
    }

    #[test]
    fn after_the_time_constant_a_change_is_taken_in_but_for_a_part_of_e() {
        let looks = |in_flight| {
            let mut looks = Looks::default();
            looks.add(in_flight);
            looks
        };
        let mut concurrency = Concurrency::default();
        concurrency.observe(looks(1), SMOOTHING);
        concurrency.observe(looks(3), SMOOTHING);
        let old = (-1.0_f64).exp();
        let expected = 6.0 * (1.0 - old) / (old + 3.0 * (1.0 - old));
        let others = concurrency.others().expect("there was a request");
        assert!((others - expected).abs() < 1e-9, "{others}, not {expected}");
    }

    #[test]
    fn without_a_request_nothing_is_known() {
        assert_eq!(others(&[]), None);
        assert_eq!(others(&[0, 0]), None);
    }
}
