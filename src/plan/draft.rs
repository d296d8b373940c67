//! A plan while it is made. The factors change it one after the other.

use std::{borrow::Cow, collections::HashMap, net::SocketAddr};

use super::{
    Inputs, Tier,
    model::{Group, OutlierState, Plan, PlannedEndpoint, Reason, State, ZoneShare},
};
use crate::catalog::Endpoint;

/// A plan in the making.
#[derive(Debug, Default)]
pub struct Draft {
    /// In the order of the inputs.
    pub endpoints: Vec<PlannedEndpoint>,
    /// Filled after the factors.
    pub groups: Vec<Group>,
    /// Notes on the service as a whole.
    pub notes: Vec<String>,
    /// The tiers in which Pointsman's own judgements were undone, since they left too few endpoints.
    pub panic: Vec<Tier>,
    /// The tiers with too few endpoints left for which a later tier stands in.
    pub short: Vec<Tier>,
    /// When the plan changes next without new input.
    pub next_change: Option<std::time::Duration>,
    /// The number of other requests in flight for which draw weights are corrected.
    pub corrected_for: Option<f64>,
}

impl Draft {
    /// Every endpoint serves with weight 1; outlier states come from the previous plan.
    pub fn new(inputs: &Inputs<'_>, previous: Option<&Plan>) -> Self {
        let outlier_states = OutlierStates::of(previous);
        let endpoints = inputs
            .endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| {
                PlannedEndpoint::new(endpoint.clone(), outlier_states.get(index, endpoint))
            })
            .collect();
        Self { endpoints, ..Self::default() }
    }

    /// Multiplies an endpoint's weight, and records the reason.
    pub fn scale(
        &mut self,
        index: usize,
        name: &'static str,
        value: f64,
        reason: impl Into<Cow<'static, str>>,
    ) {
        let planned = &mut self.endpoints[index];
        planned.weight *= value;
        planned.factors.push(Reason { name, value, reason: reason.into() });
    }

    /// Excludes an endpoint from picks, and records the reason.
    pub fn take_out(
        &mut self,
        index: usize,
        state: State,
        name: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.endpoints[index].state = state;
        self.endpoints[index].factors.push(Reason { name, value: 0.0, reason: reason.into() });
    }

    /// Something changes at `at` without new input.
    pub fn wake_at(&mut self, at: std::time::Duration) {
        self.next_change = Some(self.next_change.map_or(at, |next| next.min(at)));
    }

    /// The finished plan. Its version grows only if something differs.
    pub fn finish(
        self,
        _inputs: &Inputs<'_>,
        previous: Option<&Plan>,
        zone_share: ZoneShare,
    ) -> Plan {
        let mut plan = Plan {
            version: 1,
            groups: self.groups,
            endpoints: self.endpoints,
            notes: self.notes,
            next_change: self.next_change,
            zone_share,
            corrected_for: self.corrected_for,
        };
        if let Some(previous) = previous {
            plan.version = previous.version + u64::from(!plan.decides_as(previous));
        }
        plan
    }
}

impl Plan {
    /// Whether both plans serve callers alike. Reasons and remembered times may differ.
    pub fn decides_as(&self, other: &Self) -> bool {
        let same_groups = self.groups.len() == other.groups.len()
            && self.groups.iter().zip(&other.groups).all(|(a, b)| {
                (a.share, &a.members, a.choices, a.overflow, a.spill_at, a.spill_margin)
                    == (b.share, &b.members, b.choices, b.overflow, b.spill_at, b.spill_margin)
            });
        same_groups
            && self.endpoints.len() == other.endpoints.len()
            && self.endpoints.iter().zip(&other.endpoints).all(|(a, b)| {
                (a.endpoint.address, a.state, a.weight, a.draw, a.standing_bias, a.limit)
                    == (b.endpoint.address, b.state, b.weight, b.draw, b.standing_bias, b.limit)
            })
    }
}

/// Looks outlier states up, by position first: endpoints rarely change between two plans.
struct OutlierStates<'a> {
    previous: Option<&'a Plan>,
    by_address: std::cell::OnceCell<HashMap<SocketAddr, usize>>,
}

impl<'a> OutlierStates<'a> {
    fn of(previous: Option<&'a Plan>) -> Self {
        Self { previous, by_address: std::cell::OnceCell::new() }
    }

    /// Another pod at the same address starts afresh.
    fn get(&self, index: usize, endpoint: &Endpoint) -> OutlierState {
        let Some(previous) = self.previous else { return OutlierState::default() };
        let at = |planned: &PlannedEndpoint| planned.endpoint.address == endpoint.address;
        let index = match previous.endpoints.get(index) {
            Some(planned) if at(planned) => Some(index),
            _ => {
                let by_address = self.by_address.get_or_init(|| {
                    let addresses = previous.endpoints.iter().map(|p| p.endpoint.address);
                    addresses.zip(0..).collect()
                });
                by_address.get(&endpoint.address).copied()
            }
        };
        let before = index.map(|index| &previous.endpoints[index]);
        let same = before.filter(|planned| planned.endpoint.is_same_as(endpoint));
        same.map(PlannedEndpoint::outlier_state).unwrap_or_default()
    }
}
