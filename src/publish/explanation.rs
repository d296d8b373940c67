//! What explains a pick, or the lack of one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    ServicePublisher, samples::Sample, target::Target, verdicts::View, witnesses::Failure,
};
use crate::{
    catalog::{EndpointRef, Health},
    identity::Identity,
    load::Totals,
    plan::{Plan, State},
    policy::Policy,
};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("no endpoint of {target} can serve: {why}")]
pub struct NoEndpoint {
    /// What was asked for.
    pub target: String,
    /// Such as `3 endpoints: 2 unready, 1 excluded`.
    pub why: String,
    /// The source knows some, which are no use.
    pub known: bool,
}

/// One endpoint as this node sees it.
#[derive(Debug)]
pub struct EndpointStatus {
    /// As the source knows it.
    pub endpoint: EndpointRef,
    /// What the plan makes of it.
    pub state: State,
    /// The plan's weight.
    pub weight: f64,
    /// From this node.
    pub in_flight: u32,
    /// Of that, open for longer than the service's requests take.
    pub standing: u32,
    /// Ended over the last ten seconds, from this node.
    pub requests: u32,
    /// Of these, failed, expired or unreachable.
    pub failures: u32,
    /// Of these, the mean of the timed ones.
    pub mean_latency: Option<Duration>,
    /// Outcomes since the agent first saw it.
    pub total: Totals,
}

/// An endpoint that one caller's picks avoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avoided {
    /// Whose picks.
    pub caller: Identity,
    /// What they avoid.
    pub address: SocketAddr,
    /// How often it failed for this caller while others' requests did not.
    pub failures: u32,
    /// There was no connection the last time.
    pub unreachable: bool,
    /// Until its next try; zero: the next pick may be one.
    pub left: Duration,
}

impl Avoided {
    pub(super) fn new(view: &View, address: SocketAddr, now: Duration) -> Self {
        Self {
            caller: view.caller,
            address,
            failures: view.failures,
            unreachable: view.failure == Failure::Unreachable,
            left: view.until.saturating_sub(now),
        }
    }
}

/// All that explains a pick.
#[derive(Debug)]
pub struct Explanation {
    /// What was asked for.
    pub target: Target,
    /// With every factor's reason.
    pub plan: Arc<Plan>,
    /// The settings in force.
    pub policy: Arc<Policy>,
    /// By the plan's endpoints: what is published now; None: not picked from.
    pub cells: Vec<Option<CellView>>,
    /// By the plan's endpoints: what is in flight, and what of that is standing.
    pub in_flight: Vec<(u32, u32)>,
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// Retries that may still be made.
    pub retry_left: f64,
    /// Between two publications of this table; zero while it sleeps.
    pub period: Duration,
}

/// What is published of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct CellView {
    /// Score with nothing in flight of the caller's own.
    pub base: f32,
    /// Added per request of the caller's own.
    pub slope: f32,
    /// Most of the caller's own.
    pub limit: i32,
}

pub(super) fn cells(publisher: &ServicePublisher) -> Vec<Option<CellView>> {
    let table = publisher.table();
    (publisher.plan().endpoints.iter().zip(publisher.slots()))
        .map(|(planned, slot)| {
            planned.group?;
            let cell = table.cell(*slot)?;
            Some(CellView { base: cell.base, slope: cell.slope, limit: cell.limit })
        })
        .collect()
}

/// Counts what keeps each endpoint from serving.
pub(super) fn why_none(plan: &Plan, exclude: &[SocketAddr]) -> String {
    let all = plan.endpoints.len();
    if all == 0 {
        return "the source knows no endpoint of it".into();
    }
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for planned in &plan.endpoints {
        let reason = if exclude.contains(&planned.endpoint.address) {
            "excluded by the request".to_owned()
        } else if planned.endpoint.health == Health::Unready {
            "unready".to_owned()
        } else if planned.limit != i32::MAX {
            "at its limit".to_owned()
        } else {
            match planned.factors.iter().rfind(|f| f.value == 0.0) {
                Some(factor) => factor.reason.to_string(),
                None => planned.state.as_str().to_owned(),
            }
        };
        match reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    let listed: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
    let noun = if all == 1 { "endpoint" } else { "endpoints" };
    format!("{all} {noun}: {}", listed.join(", "))
}
