//! How evenly requests in flight are spread, by the exact integral over time instead of samples.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Requests in flight of the back-ends of one arm, as the back-ends themselves count them.
pub(crate) struct Balance {
    sites: Vec<Site>,
    /// When the integrals were last brought up to date.
    at: Duration,
    /// Seconds in which anything was in flight, and max/mean over the members times those.
    busy: f64,
    uneven: f64,
    elapsed: f64,
}

#[derive(Clone, Default)]
struct Site {
    member: bool,
    in_flight: u32,
    requests: u64,
    /// In flight times seconds.
    area: f64,
}

/// What a [`Balance`] measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) sites: Vec<SiteLoad>,
    /// The largest over the mean of the members' requests in flight, averaged over the time in
    /// which there were any. 1 is even.
    pub(crate) max_over_mean: f64,
}

/// One back-end's part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SiteLoad {
    pub(crate) requests: u64,
    pub(crate) in_flight: u32,
    pub(crate) mean_in_flight: f64,
}

impl Balance {
    pub(crate) fn new(sites: usize) -> Self {
        let sites = vec![Site::default(); sites];
        Self { sites, at: Duration::ZERO, busy: 0.0, uneven: 0.0, elapsed: 0.0 }
    }

    /// Only members count in max and mean: what has left may still be draining.
    pub(crate) fn members(&mut self, members: &[usize], now: Duration) {
        self.advance(now);
        for (number, site) in self.sites.iter_mut().enumerate() {
            site.member = members.contains(&number);
        }
    }

    pub(crate) fn start(&mut self, site: usize, now: Duration) {
        self.advance(now);
        self.sites[site].in_flight += 1;
        self.sites[site].requests += 1;
    }

    pub(crate) fn end(&mut self, site: usize, now: Duration) {
        self.advance(now);
        self.sites[site].in_flight -= 1;
    }

    /// Forgets what was measured; what is in flight stays so.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.at = now;
        (self.busy, self.uneven, self.elapsed) = (0.0, 0.0, 0.0);
        for site in &mut self.sites {
            (site.requests, site.area) = (0, 0.0);
        }
    }

    pub(crate) fn spread(&mut self, now: Duration) -> Spread {
        self.advance(now);
        let over = |area: f64, time: f64| if time > 0.0 { area / time } else { 0.0 };
        let sites = self.sites.iter().map(|site| SiteLoad {
            requests: site.requests,
            in_flight: site.in_flight,
            mean_in_flight: over(site.area, self.elapsed),
        });
        Spread { sites: sites.collect(), max_over_mean: over(self.uneven, self.busy) }
    }

    fn advance(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.elapsed += seconds;
        let (mut members, mut sum, mut max) = (0, 0, 0);
        for site in &mut self.sites {
            site.area += f64::from(site.in_flight) * seconds;
            if site.member {
                members += 1;
                sum += site.in_flight;
                max = max.max(site.in_flight);
            }
        }
        if sum > 0 {
            self.busy += seconds;
            self.uneven += f64::from(max) * f64::from(members) / f64::from(sum) * seconds;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn max_over_mean_is_weighted_by_time_and_leaves_idle_time_out() {
        let mut balance = Balance::new(3);
        balance.members(&[0, 1], at(0));
        balance.start(0, at(10)); // 10 s with nothing, then 3 s of 1 and 0: 2
        balance.start(1, at(13)); // 1 s of 1 and 1: 1
        balance.end(0, at(14));
        balance.end(1, at(14));
        let spread = balance.spread(at(20));
        assert_eq!(spread.max_over_mean, (2.0 * 3.0 + 1.0) / 4.0);
        assert_eq!(spread.sites[0], SiteLoad { requests: 1, in_flight: 0, mean_in_flight: 0.2 });
    }

    #[test]
    fn one_that_drains_is_no_member_but_still_has_its_requests() {
        let mut balance = Balance::new(3);
        balance.members(&[0, 1, 2], at(0));
        for _ in 0..9 {
            balance.start(2, at(0));
        }
        balance.restart(at(0));
        balance.members(&[0, 1], at(0));
        balance.start(0, at(0));
        balance.start(1, at(0));
        let spread = balance.spread(at(4));
        assert_eq!(spread.max_over_mean, 1.0);
        assert_eq!(spread.sites[2], SiteLoad { requests: 0, in_flight: 9, mean_in_flight: 9.0 });
    }
}
