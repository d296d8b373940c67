//! Ejects endpoints that fail far more than the others, and lets them return one probe at a time.
//!
//! An endpoint is judged by the [`evidence`] against it, compared with the rest of the service. One
//! that can't be connected to goes at once. At most the policy's share of a tier's ready endpoints is
//! ejected: many endpoints that seem bad more often mean a bad network on this node.
//! That holds where a later tier stands in, too: failures that both share, or a caller that lies, must not
//! move all requests there.
//!
//! A probe is a request that begins after the ejection. Requests that were open before (a stream, a
//! lease that nobody reports) neither take a probe's place nor count in favour of the endpoint.

use std::time::Duration;

use super::{
    Draft, Factor, Inputs, State, Tier,
    baseline::Baselines,
    evidence::{self, Evidence},
    model::{Phase, Probation},
    tier,
};
use crate::load::Counts;

/// First ejection of an endpoint that refused a connection. Short, since most refusals are restarts.
const UNREACHABLE_EJECTION: Duration = Duration::from_secs(1);
/// Probes in a row that must succeed. With one probe, an endpoint that fails half of its requests
/// would return every second time; with three, once in eight.
const PROBES: u64 = 3;
/// How long to wait for a probe. A request that is open for longer is a stream or will not be
/// reported, and the next probe may begin. An endpoint without a judged probe for this long no
/// longer prevents another one's ejection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The count of ejections is reset after this many times the length of the last one.
const FORGET_AFTER: u32 = 4;

/// Ejects failing endpoints.
pub struct Ejection;

impl Factor for Ejection {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        if !inputs.policy.outlier.enabled {
            return;
        }
        for index in 0..draft.endpoints.len() {
            settle(inputs, draft, index);
        }
        let outcomes = Outcomes::of(inputs, draft);
        for tier in tier::ready(&draft.endpoints) {
            eject_worst(inputs, draft, &outcomes, tier);
        }
        for index in 0..draft.endpoints.len() {
            show(inputs, draft, index);
        }
    }
}

/// The outcomes that count.
struct Outcomes {
    of_each: Vec<Counts>,
    baselines: Baselines,
}

impl Outcomes {
    fn of(inputs: &Inputs<'_>, draft: &Draft) -> Self {
        let recent = |(load, since)| evidence::recent(load, inputs.now, since);
        let rings = inputs.loads.iter().map(|load| &load.ring);
        let since = draft.endpoints.iter().map(|planned| planned.outlier_state().since);
        let of_each: Vec<Counts> = rings.zip(since).map(recent).collect();
        Self { baselines: Baselines::of(draft, &of_each), of_each }
    }
}

/// Ejects endpoints of a tier, as many as may be.
fn eject_worst(inputs: &Inputs<'_>, draft: &mut Draft, outcomes: &Outcomes, tier: Tier) {
    let most = most_ejected(inputs, tier::members(&draft.endpoints, tier).count());
    let mut room = most.saturating_sub(aside(inputs, draft, tier));
    for (index, why) in worst_first(inputs, draft, outcomes, tier) {
        if room == 0 {
            let share = inputs.policy.outlier.max_ejected * 100.0;
            let reason = format!("{why}; not ejected, since at most {share:.0}% may be");
            draft.scale(index, "ejection", 1.0, reason);
            continue;
        }
        room -= 1;
        eject(inputs, draft, index, &why);
    }
}

/// At most the policy's share; but at least one, if there are two or more endpoints.
fn most_ejected(inputs: &Inputs<'_>, ready: usize) -> usize {
    let most = (ready as f64 * inputs.policy.outlier.max_ejected) as usize;
    if ready >= 2 { most.max(1) } else { 0 }
}

/// How many endpoints of a tier count as ejected. One that no request probes may wait forever, and stops
/// counting.
fn aside(inputs: &Inputs<'_>, draft: &Draft, tier: Tier) -> usize {
    let takes_room = |phase| match phase {
        Phase::Clear => false,
        Phase::Ejected { .. } => true,
        Phase::Probing(probation) => inputs.now < probation.heard + PROBE_TIMEOUT,
    };
    let phases =
        tier::members(&draft.endpoints, tier).map(|(_, planned)| planned.outlier_state().phase);
    phases.filter(|phase| takes_room(*phase)).count()
}

/// Applies what time and probes change.
fn settle(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    let (now, total) = (inputs.now, inputs.loads[index].total);
    let mut outlier = draft.endpoints[index].outlier_state();
    match outlier.phase {
        Phase::Clear => {
            if outlier.times > 0 && now >= outlier.since + outlier.last * FORGET_AFTER {
                outlier.times = 0;
            }
        }
        Phase::Ejected { until } if now < until => {}
        Phase::Ejected { .. } => {
            outlier.unreachable_seen = total.unreachable;
            outlier.phase = Phase::Probing(Probation {
                began: now,
                succeeded: total.succeeded,
                failed: total.failed,
                done: 0,
                heard: now,
                standing: inputs.loads[index].in_flight,
                free: now,
            });
        }
        Phase::Probing(probation) => {
            if total.failed > probation.failed {
                return again(inputs, draft, index);
            }
            let probation = follow(inputs, index, probation);
            if probation.done >= PROBES {
                outlier.phase = Phase::Clear;
                outlier.since = now;
            } else {
                outlier.phase = Phase::Probing(probation);
            }
        }
    }
    draft.endpoints[index].set_outlier_state(outlier);
}

/// Updates a probation: finished probes, and other requests in flight.
fn follow(inputs: &Inputs<'_>, index: usize, before: Probation) -> Probation {
    let (now, load) = (inputs.now, inputs.loads[index]);
    let mut probation = before;
    probation.done = load.total.succeeded.saturating_sub(before.succeeded);
    if probation.done > before.done {
        probation.heard = now;
    }
    // More than one beyond these does not come from picks, but from a take-over, say.
    let least = load.in_flight.saturating_sub(1);
    probation.standing = before.standing.max(least).min(load.in_flight);
    if probation.standing == load.in_flight {
        probation.free = now;
    } else if now >= before.free + PROBE_TIMEOUT {
        (probation.standing, probation.free) = (load.in_flight, now);
    }
    probation
}

fn again(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    let last = draft.endpoints[index].outlier_state().last;
    put_aside(inputs, draft, index, last * 2);
}

fn put_aside(inputs: &Inputs<'_>, draft: &mut Draft, index: usize, length: Duration) {
    let mut outlier = draft.endpoints[index].outlier_state();
    outlier.times += 1;
    outlier.last = length.min(inputs.policy.outlier.max_ejection);
    outlier.phase = Phase::Ejected { until: inputs.now + outlier.last };
    outlier.since = inputs.now + outlier.last;
    outlier.unreachable_seen = inputs.loads[index].total.unreachable;
    draft.endpoints[index].set_outlier_state(outlier);
}

fn eject(inputs: &Inputs<'_>, draft: &mut Draft, index: usize, why: &Why) {
    let policy = &inputs.policy.outlier;
    let outlier = draft.endpoints[index].outlier_state();
    let base = match why {
        Why::Unreachable => UNREACHABLE_EJECTION.min(policy.base_ejection),
        Why::Failures(..) => policy.base_ejection,
    };
    let length = if outlier.times == 0 { base } else { (outlier.last * 2).max(base) };
    put_aside(inputs, draft, index, length);
}

/// Why an endpoint is ejected.
enum Why {
    Unreachable,
    /// With the others' success rate.
    Failures(Evidence, f64),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Failures(Evidence { newest, each_took }, others) = self else {
            return write!(f, "a connection to it failed");
        };
        let (failed, of) = (newest.counts.failed, newest.counts.judged());
        write!(f, "{failed} of {of} requests failed in {} s, ", newest.seconds)?;
        if let Some(each) = each_took {
            write!(f, "after {:.1} s each, ", each.as_secs_f64())?;
        }
        write!(f, "{:.1}% of the others'", (1.0 - others) * 100.0)
    }
}

/// Endpoints of a tier to eject: unreachable ones, then by failure rate.
fn worst_first(
    inputs: &Inputs<'_>,
    draft: &Draft,
    outcomes: &Outcomes,
    tier: Tier,
) -> Vec<(usize, Why)> {
    let median = inputs.service.service_time.median();
    let mut bad: Vec<(usize, f64, Why)> = Vec::new();
    // A braked endpoint is no member: the first connection that fails removes it for good.
    for (index, planned) in tier::members(&draft.endpoints, tier) {
        let outlier = planned.outlier_state();
        if outlier.phase != Phase::Clear {
            continue;
        }
        let load = inputs.loads[index];
        if load.total.unreachable > outlier.unreachable_seen {
            bad.push((index, 2.0, Why::Unreachable));
            continue;
        }
        let own = &outcomes.of_each[index];
        if own.failed == 0 {
            continue;
        }
        let others = outcomes.baselines.for_others_than(own, planned.endpoint.priority);
        let requests = inputs.policy.outlier.min_requests;
        let (ring, now, since) = (&load.ring, inputs.now, outlier.since);
        if let Some(against) = evidence::against(ring, now, since, requests, others, median) {
            let rate = against.newest.counts.success_rate().unwrap_or_default();
            bad.push((index, 1.0 - rate, Why::Failures(against, others)));
        }
    }
    bad.sort_by(|a, b| b.1.total_cmp(&a.1));
    bad.into_iter().map(|(index, _, why)| (index, why)).collect()
}

/// Applies an outlier state to the plan.
fn show(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    if draft.endpoints[index].state == State::Out {
        return;
    }
    let outlier = draft.endpoints[index].outlier_state();
    match outlier.phase {
        Phase::Clear => {
            if outlier.times > 0 {
                draft.wake_at(outlier.since + outlier.last * FORGET_AFTER);
            }
        }
        Phase::Ejected { until } => {
            let reason = format!(
                "ejected for {:.1} s (time {} in a row), {:.1} s left",
                outlier.last.as_secs_f64(),
                outlier.times,
                until.saturating_sub(inputs.now).as_secs_f64()
            );
            draft.take_out(index, State::Ejected, "ejection", reason);
            draft.wake_at(until);
        }
        Phase::Probing(probation) => {
            let done = probation.done;
            let mut reason =
                format!("back from ejection: one request at a time, {done} of {PROBES} succeeded");
            if probation.standing > 0 {
                reason += &format!("; {} in flight from before", probation.standing);
            }
            draft.scale(index, "ejection", 1.0, reason);
            draft.endpoints[index].state = State::Probing;
            let limit = i32::try_from(probation.standing).unwrap_or(i32::MAX);
            draft.endpoints[index].limit = limit.saturating_add(1).min(i32::MAX - 1);
            if inputs.loads[index].in_flight > probation.standing {
                draft.wake_at(probation.free + PROBE_TIMEOUT);
            }
        }
    }
}
