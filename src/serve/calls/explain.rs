//! `Explain`: why a service's picks go where they go.

use std::{net::SocketAddr, time::Duration};

use super::{Agent, get::timestamp};
use crate::{
    api::v1,
    identity::{Identity, Pods},
    plan::{Group, Plan, PlannedEndpoint, Reason},
    policy::{Overridden, resolve},
    publish::{Avoided, CellView, Explanation, Sample},
    serve::{Error, limits},
};

/// The note for a service whose picks have a hash key.
const HASH_KEY: &str = "picks come with a hash_key: no strategy uses it yet, so requests of one key \
     go to any endpoint; with mode N%, either all of them are balanced, or none";

impl Agent {
    /// The plan of a service with the reason of every factor, and the last picks sampled.
    ///
    /// # Errors
    /// A field is invalid, or there is no such service.
    pub async fn explain(
        &self,
        identity: Identity,
        request: &v1::ExplainRequest,
        deadline: Option<Duration>,
    ) -> Result<v1::ExplainResponse, Error> {
        let selector = limits::selector(request.selector.iter())?;
        let found =
            self.resolver.find(identity, &request.service, limits::wait(None, deadline)).await?;
        let live = self.resolver.open(identity, &request.service, &found, selector)?;
        let resolved = resolve(&self.resolver.policies(), &found.service);
        let Explanation { target, plan, cells, in_flight, samples, policy, retry_left, period } =
            live.explain();

        let of_settings = resolved.problems.iter().chain(&resolved.notes);
        let notes = found.service.notes.iter().chain(&plan.notes).chain(of_settings);
        let mut notes: Vec<String> = notes.cloned().collect();
        notes.extend(avoided(&live.avoided(), self.pods()));
        if found.service.stale {
            notes
                .push(format!("{} has not confirmed it for over 10 minutes", found.service.source));
        }
        if live.keyed() {
            notes.push(HASH_KEY.to_owned());
        }
        let settings = resolved.origins.into_iter().map(|setting| v1::Setting {
            name: setting.name.to_owned(),
            value: setting.value,
            origin: setting.origin,
            overridden: setting
                .overridden
                .into_iter()
                .map(|Overridden { value, origin }| v1::OverriddenSetting { value, origin })
                .collect(),
        });
        Ok(v1::ExplainResponse {
            service: target.to_string(),
            plan: plan.version,
            policy: settings.collect(),
            groups: plan.groups.iter().map(|each| group(&plan, each)).collect(),
            endpoints: plan
                .endpoints
                .iter()
                .enumerate()
                .map(|(index, each)| v1::PlannedEndpoint {
                    in_flight: in_flight.get(index).map_or(0, |(all, _)| *all),
                    standing: in_flight.get(index).map_or(0, |(_, standing)| *standing),
                    ..endpoint(&plan, each, cells.get(index).copied().flatten())
                })
                .collect(),
            notes,
            picks: samples.into_iter().map(|each| sample(&plan, each)).collect(),
            retry_budget: Some(v1::RetryBudget {
                left: retry_left,
                ratio: policy.retry.ratio,
                per_second: policy.retry.per_second,
            }),
            period: Some(period.into()),
        })
    }
}

/// Callers that the notes list one by one.
const LISTED_CALLERS: usize = 20;

/// Notes of the endpoints that single callers avoid.
fn avoided(all: &[Avoided], pods: &Pods) -> Vec<String> {
    let listed = all.iter().take(LISTED_CALLERS).map(|each| {
        let caller = pods.named(each.caller);
        let how = if each.unreachable { "could not connect to" } else { "had failures at" };
        let (address, failures, left) = (each.address, each.failures, each.left.as_secs_f64());
        format!(
            "{caller} {how} {address}, where other callers' requests succeed, {failures} times: its \
             own picks avoid it, and the next try is in {left:.1} s"
        )
    });
    let more = all.len().saturating_sub(LISTED_CALLERS);
    let more = (more > 0).then(|| format!("{more} more endpoints are avoided by single callers"));
    listed.chain(more).collect()
}

fn name_of(plan: &Plan, group: Option<usize>) -> String {
    group
        .and_then(|index| plan.groups.get(index))
        .map(|group| group.name.clone())
        .unwrap_or_default()
}

fn group(plan: &Plan, group: &Group) -> v1::PlannedGroup {
    v1::PlannedGroup {
        name: group.name.clone(),
        share: group.share,
        endpoints: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        choices: group.choices,
        overflow: name_of(plan, group.overflow),
        spill_at: group.spill_at.into(),
        spill_margin: group.spill_margin.into(),
        reason: group.reason.clone(),
    }
}

fn endpoint(plan: &Plan, planned: &PlannedEndpoint, cell: Option<CellView>) -> v1::PlannedEndpoint {
    let address = planned.endpoint.address;
    v1::PlannedEndpoint {
        address: address.ip().to_string(),
        port: address.port().into(),
        group: name_of(plan, planned.group),
        state: planned.state.as_str().to_owned(),
        weight: planned.weight,
        draw: planned.drawn(),
        base: cell.map_or(0.0, |cell| cell.base.into()),
        slope: cell.map_or(0.0, |cell| cell.slope.into()),
        limit: cell.map_or(planned.limit, |cell| cell.limit),
        factors: planned.factors.iter().map(factor).collect(),
        ..v1::PlannedEndpoint::default()
    }
}

fn factor(factor: &Reason) -> v1::Factor {
    v1::Factor {
        name: factor.name.to_owned(),
        value: factor.value,
        reason: factor.reason.clone().into_owned(),
    }
}

fn sample(plan: &Plan, sample: Sample) -> v1::SampledPick {
    let text = |address: SocketAddr| address.to_string();
    v1::SampledPick {
        time: Some(timestamp(sample.at)),
        group: name_of(plan, sample.group.and_then(|group| usize::try_from(group).ok())),
        candidates: sample
            .candidates
            .into_iter()
            .map(|(address, score, eligible)| v1::Candidate {
                address: text(address),
                score: score.into(),
                eligible,
            })
            .collect(),
        chosen: sample.chosen.map(text).unwrap_or_default(),
        overflowed: sample.overflowed,
    }
}
