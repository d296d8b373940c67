//! Explains a pick, or why there is none.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    samples::Sample, service::ServicePublisher, target::Target, verdicts::VerdictSummary,
    witnesses::Failure,
};
use crate::{
    catalog::{EndpointRef, Health},
    identity::Identity,
    load::Totals,
    plan::{Plan, State},
    policy::Policy,
};

/// The reason that a pick got no endpoint.
#[derive(Debug, thiserror::Error)]
#[error("no endpoint of {target} can serve: {why}")]
pub struct NoEndpoint {
    /// The target, as text.
    pub target: String,
    /// Such as `3 endpoints: 2 unready, 1 excluded`.
    pub why: String,
    /// The source knows endpoints, but none can serve.
    pub known: bool,
}

#[derive(Debug)]
pub struct EndpointStatus {
    pub endpoint: EndpointRef,
    /// The state in the plan.
    pub state: State,
    /// The weight in the plan.
    pub weight: f64,
    /// In flight from this node, in cost units.
    pub in_flight: u32,
    /// The part that has been open for longer than the service's requests take.
    pub standing: u32,
    /// Requests from this node that ended in the last ten seconds.
    pub requests: u32,
    /// The part of `requests` that failed, expired or was unreachable.
    pub failures: u32,
    /// The mean latency of those of `requests` that were timed.
    pub mean_latency: Option<Duration>,
    pub total: Totals,
}

/// An endpoint that one caller's picks avoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avoided {
    pub caller: Identity,
    pub address: SocketAddr,
    /// How often it failed for this caller while other callers' requests did not.
    pub failures: u32,
    /// The last failure was a failed connection.
    pub unreachable: bool,
    /// The time until the next probe; zero: the next pick may be one.
    pub left: Duration,
}

impl Avoided {
    pub(super) fn new(verdict: &VerdictSummary, address: SocketAddr, now: Duration) -> Self {
        Self {
            caller: verdict.caller,
            address,
            failures: verdict.failures,
            unreachable: verdict.failure == Failure::Unreachable,
            left: verdict.until.saturating_sub(now),
        }
    }
}

/// All that explains a pick.
#[derive(Debug)]
pub struct Explanation {
    pub target: Target,
    /// The plan, with the reason of every factor.
    pub plan: Arc<Plan>,
    pub policy: Arc<Policy>,
    /// What is published now, in the order of the plan's endpoints; None: the plan does not pick
    /// this one.
    pub cells: Vec<Option<CellView>>,
    /// What is in flight and what of that is standing, in the order of the plan's endpoints.
    pub in_flight: Vec<(u32, u32)>,
    /// The oldest first.
    pub samples: Vec<Sample>,
    /// The number of retries that callers may still make.
    pub retry_left: f64,
    /// The time between two publications of this table; zero while it sleeps.
    pub period: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct CellView {
    /// The score if the caller has nothing in flight there.
    pub base: f32,
    /// The addition to the score for each request that the caller has in flight there.
    pub slope: f32,
    /// The most requests that the caller may have in flight there.
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

/// Counts the reasons for which endpoints can't serve.
pub(super) fn why_none(plan: &Plan, exclude: &[SocketAddr]) -> String {
    let all = plan.endpoints.len();
    if all == 0 {
        return "the source knows no endpoint of this service".into();
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
