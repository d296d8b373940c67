//! Ejection of endpoints that fail far more than the others, and their return, one probe at a
//! time.
//!
//! Judged by samples of the last ten seconds against the rest of the service, and by fewer where
//! they are much worse: who has just begun to fail is not saved by how well it was before. An
//! endpoint that can't be connected to goes at once. Never more than the policy's share of the
//! ready ones: what looks like many bad endpoints is more often a bad network here.

use std::time::Duration;

use super::{
    Draft, Influence, Inputs, State,
    error_bias::{Usual, judged},
    model::Phase,
};
use crate::load::{BUCKETS, Newest};

/// Ejected when its success rate is below this part of the others'.
const WORSE_THAN_OTHERS: f64 = 0.5;
/// So many of its newest requests may speak against all of its others...
const NEWEST: u32 = 20;
/// ...where their success rate is below this part of the others'. Where half of all requests fail,
/// so many of twenty fail by chance once in 5,000 times.
const FAR_WORSE: f64 = 0.25;
/// Fewest failures that eject: two can be bad luck.
const FAILURES: u32 = 3;
/// First ejection of an endpoint that refused a connection: short, since most are restarts.
const UNREACHABLE_EJECTION: Duration = Duration::from_secs(1);
/// Probes in a row that must succeed. One would let an endpoint that fails half of its requests
/// back every second time; three let it back once in eight.
const PROBES: u64 = 3;
/// The count of ejections is forgotten after this many times the last one's length without a new.
const FORGET_AFTER: u32 = 4;

/// Puts failing endpoints aside.
pub struct Ejection;

impl Influence for Ejection {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        if !inputs.policy.outlier.enabled {
            return;
        }
        let ready = draft.endpoints.iter().filter(|e| e.is_ready()).count();
        for index in 0..draft.endpoints.len() {
            settle(inputs, draft, index);
        }
        let mut room = most_ejected(inputs, ready).saturating_sub(aside(draft));
        for (index, why) in worst_first(inputs, draft) {
            if room == 0 {
                let share = inputs.policy.outlier.max_ejected * 100.0;
                let reason = format!("{why}; kept, since at most {share:.0}% may be ejected");
                draft.scale(index, "ejection", 1.0, reason);
                continue;
            }
            room -= 1;
            eject(inputs, draft, index, &why);
        }
        for index in 0..draft.endpoints.len() {
            show(inputs, draft, index);
        }
    }
}

/// At most the policy's share, but one where there are two or more.
fn most_ejected(inputs: &Inputs<'_>, ready: usize) -> usize {
    let most = (ready as f64 * inputs.policy.outlier.max_ejected) as usize;
    if ready >= 2 { most.max(1) } else { 0 }
}

fn aside(draft: &Draft) -> usize {
    draft.endpoints.iter().filter(|e| e.is_ready() && e.standing().phase != Phase::Clear).count()
}

/// What time and probes alone change.
fn settle(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    let (now, total) = (inputs.now, inputs.loads[index].total);
    let mut standing = draft.endpoints[index].standing();
    match standing.phase {
        Phase::Clear => {
            if standing.times > 0 && now >= standing.since + standing.last * FORGET_AFTER {
                standing.times = 0;
            }
        }
        Phase::Ejected { until } if now < until => {}
        Phase::Ejected { .. } => {
            standing.unreachable_seen = total.unreachable;
            standing.phase = Phase::Probing { succeeded: total.succeeded, failed: total.failed };
        }
        Phase::Probing { succeeded, failed } => {
            if total.failed > failed {
                return again(inputs, draft, index);
            } else if total.succeeded >= succeeded + PROBES {
                standing.phase = Phase::Clear;
                standing.since = now;
            }
        }
    }
    draft.endpoints[index].stand(standing);
}

fn again(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    let last = draft.endpoints[index].standing().last;
    put_aside(inputs, draft, index, last * 2);
}

fn put_aside(inputs: &Inputs<'_>, draft: &mut Draft, index: usize, length: Duration) {
    let mut standing = draft.endpoints[index].standing();
    standing.times += 1;
    standing.last = length.min(inputs.policy.outlier.max_ejection);
    standing.phase = Phase::Ejected { until: inputs.now + standing.last };
    standing.since = inputs.now + standing.last;
    standing.unreachable_seen = inputs.loads[index].total.unreachable;
    draft.endpoints[index].stand(standing);
}

fn eject(inputs: &Inputs<'_>, draft: &mut Draft, index: usize, why: &Why) {
    let policy = &inputs.policy.outlier;
    let standing = draft.endpoints[index].standing();
    let base = match why {
        Why::Unreachable => UNREACHABLE_EJECTION.min(policy.base_ejection),
        Why::Failures { .. } => policy.base_ejection,
    };
    let length = if standing.times == 0 { base } else { (standing.last * 2).max(base) };
    put_aside(inputs, draft, index, length);
}

/// Why an endpoint should go.
enum Why {
    Unreachable,
    Failures { failed: u32, of: u32, seconds: u64, others: f64 },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => write!(f, "a connection to it failed"),
            Self::Failures { failed, of, seconds, others } => write!(
                f,
                "{failed} of {of} requests failed in {seconds} s, {:.1}% of the others'",
                (1.0 - others) * 100.0
            ),
        }
    }
}

/// Endpoints that should go: unreachable ones, then by failure rate.
fn worst_first(inputs: &Inputs<'_>, draft: &Draft) -> Vec<(usize, Why)> {
    let seen = judged(inputs, draft);
    let usual = Usual::of(&seen);
    let mut bad: Vec<(usize, f64, Why)> = Vec::new();
    for (index, planned) in draft.endpoints.iter().enumerate() {
        // What the brake kept goes for good with the first connection that fails.
        if !planned.is_ready() || planned.standing().phase != Phase::Clear {
            continue;
        }
        if inputs.loads[index].total.unreachable > planned.standing().unreachable_seen {
            bad.push((index, 2.0, Why::Unreachable));
            continue;
        }
        let others = usual.for_others_than(&seen[index]);
        let newest = inputs.loads[index].ring.newest(inputs.now, planned.standing().since, NEWEST);
        let whole = Newest { counts: seen[index], seconds: BUCKETS as u64 };
        let requests = inputs.policy.outlier.min_requests;
        let why = newest
            .and_then(|newest| failures(&newest, NEWEST, others, FAR_WORSE))
            .or_else(|| failures(&whole, requests, others, WORSE_THAN_OTHERS));
        if let Some((rate, why)) = why {
            bad.push((index, 1.0 - rate, why));
        }
    }
    bad.sort_by(|a, b| b.1.total_cmp(&a.1));
    bad.into_iter().map(|(index, _, why)| (index, why)).collect()
}

/// The success rate of at least so many requests, where it is below that part of the others'.
fn failures(window: &Newest, requests: u32, others: f64, part: f64) -> Option<(f64, Why)> {
    let (of, failed) = (window.counts.judged(), window.counts.failed);
    let rate = window.counts.success_rate()?;
    let bad = of >= requests && failed >= FAILURES && rate < others * part;
    bad.then_some((rate, Why::Failures { failed, of, seconds: window.seconds, others }))
}

/// The standing's effect on the plan.
fn show(inputs: &Inputs<'_>, draft: &mut Draft, index: usize) {
    if draft.endpoints[index].state == State::Out {
        return;
    }
    let standing = draft.endpoints[index].standing();
    match standing.phase {
        Phase::Clear => {
            if standing.times > 0 {
                draft.wake_at(standing.since + standing.last * FORGET_AFTER);
            }
        }
        Phase::Ejected { until } => {
            let reason = format!(
                "ejected for {:.1} s (time {} in a row), {:.1} s left",
                standing.last.as_secs_f64(),
                standing.times,
                until.saturating_sub(inputs.now).as_secs_f64()
            );
            draft.take_out(index, State::Ejected, "ejection", reason);
            draft.wake_at(until);
        }
        Phase::Probing { succeeded, .. } => {
            let done = inputs.loads[index].total.succeeded - succeeded;
            let reason =
                format!("back from ejection: one request at a time, {done} of {PROBES} succeeded");
            draft.scale(index, "ejection", 1.0, reason);
            draft.endpoints[index].state = State::Probing;
            draft.endpoints[index].limit = 1;
        }
    }
}
