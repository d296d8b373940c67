//! The settings of one service, by field.

use std::{net::IpAddr, time::Duration};

/// How one service is balanced. Every number here has its unit, range and source beside its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which requests are balanced. The others go where they would go without Pointsman.
    pub mode: Mode,
    /// Where the others go: the service's address at kube-proxy.
    pub virtual_ip: Option<IpAddr>,
    /// How scores are made.
    pub strategy: StrategyName,
    /// How many endpoints one pick compares, 1 to 8. 2 gets nearly all of the effect
    /// (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing).
    pub choices: u32,
    /// What the caller's own zone means.
    pub zone: ZoneMode,
    /// Share of the source-ready endpoints that must be left after Pointsman's own judgements,
    /// 0 to 1; below it they are undone (Envoy's default is the same half).
    pub panic_below: f64,
    /// Steering away from errors.
    pub outlier: OutlierPolicy,
    /// How many retries callers may make.
    pub retry: RetryPolicy,
}

/// Which requests of a service are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None.
    Off,
    /// None. But a pick is made for each, for comparison, and discarded.
    Shadow,
    /// This percentage.
    Percent(u8),
    /// All.
    On,
}

impl Policy {
    /// The effective [`Self::mode`]: without a virtual IP all requests are balanced.
    pub fn mode_in_force(&self) -> Mode {
        match self.virtual_ip {
            Some(_) => self.mode,
            None => Mode::On,
        }
    }
}

/// The strategies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategyName {
    /// The fewest requests in flight of `choices`, by weight.
    LeastRequest,
    /// By weight alone.
    Random,
}

/// What the caller's own zone means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneMode {
    /// The own zone first; others as far as it lacks capacity.
    Prefer,
    /// Own zone only, while it has a ready endpoint.
    Strict,
    /// Zones don't matter.
    Off,
}

/// Steering away from errors.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierPolicy {
    /// Whether errors steer at all.
    pub enabled: bool,
    /// Failures in a row that eject where the other endpoints do well, at any request rate.
    pub min_requests: u32,
    /// First ejection; each further one doubles.
    pub base_ejection: Duration,
    /// Longest ejection.
    pub max_ejection: Duration,
    /// Largest share of the source-ready endpoints ejected at a time, 0 to 1. One may always be
    /// ejected, if there are two or more.
    pub max_ejected: f64,
}

/// The retry budget of a service on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Retries allowed per request, 0 to 1.
    pub ratio: f64,
    /// Retries per second allowed on top.
    pub per_second: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::On,
            virtual_ip: None,
            strategy: StrategyName::LeastRequest,
            choices: 2,
            zone: ZoneMode::Prefer,
            panic_below: 0.5,
            outlier: OutlierPolicy {
                enabled: true,
                min_requests: 5,
                base_ejection: Duration::from_secs(5),
                max_ejection: Duration::from_secs(300),
                max_ejected: 1.0 / 3.0,
            },
            retry: RetryPolicy { ratio: 0.2, per_second: 10.0 },
        }
    }
}
