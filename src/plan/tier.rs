//! Which endpoints stand in for which: the source's priorities, then what only the brake keeps.
//!
//! Everything that is judged by a share of the endpoints (weights, ejections, panic) is judged by the
//! share of a tier. Otherwise many healthy endpoints elsewhere would hide that a tier is lost.

use std::fmt;

use super::PlannedEndpoint;
use crate::catalog::Endpoint;

/// A class of endpoints. One of a later tier is picked only if those of an earlier one do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The source's priority.
    Listed(u8),
    /// The source lists them no longer.
    Braked,
}

impl Tier {
    /// The tier of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        match endpoint.braked {
            true => Self::Braked,
            false => Self::Listed(endpoint.priority),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(priority) => write!(f, "priority {priority}"),
            Self::Braked => f.write_str("what the brake keeps"),
        }
    }
}

/// The tiers with a ready endpoint, the first choice first. What the brake keeps is no ready endpoint.
pub(super) fn ready(endpoints: &[PlannedEndpoint]) -> Vec<Tier> {
    let ready = endpoints.iter().filter(|planned| planned.is_ready());
    let mut tiers: Vec<Tier> = ready.map(|planned| Tier::of(&planned.endpoint)).collect();
    tiers.sort_unstable();
    tiers.dedup();
    tiers
}

/// The tier's ready endpoints, with their indices.
pub(super) fn members(
    endpoints: &[PlannedEndpoint],
    tier: Tier,
) -> impl Iterator<Item = (usize, &PlannedEndpoint)> {
    let ready = endpoints.iter().enumerate().filter(|(_, planned)| planned.is_ready());
    ready.filter(move |(_, planned)| Tier::of(&planned.endpoint) == tier)
}
