//! Compares the failures of one caller with what other callers saw at the same endpoint.
//!
//! A program without a route to an endpoint reports nothing but failures there, and so does one
//! that lies. If these counted for all, they would eject endpoints that serve everyone else. So a
//! failure counts for all only if the newest outcomes of other callers do not contradict it.
//! Otherwise it counts for its caller alone.
//!
//! The table remembers for each endpoint the few callers that reported last. More callers would not
//! change the result.

use std::time::Duration;

use crate::identity::Identity;

/// Callers remembered for each endpoint. Two are enough to contradict any third. The others are
/// room for callers that agree with the third.
const REMEMBERED: usize = 4;
/// How old another caller's outcome may be to say something about a failure now.
const LATELY: Duration = Duration::from_secs(10);
/// A success from before a caller's failures contradicts them for this long only: an endpoint that
/// has just died had successes until then.
const BEFORE: Duration = Duration::from_secs(1);
/// The factor for a caller's earlier outcomes at each further one: about the last twenty count.
const KEEP: f32 = 0.95;
/// Others contradict a caller's share of failures if it is above this many times their own...
const TIMES_OTHERS: f32 = 2.0;
/// ...plus this: two failures of twenty are no contradiction.
const AND: f32 = 0.1;

/// The outcomes of one caller at an endpoint.
#[derive(Clone, Copy, Debug)]
struct Witness {
    who: Identity,
    last: Duration,
    last_success: Option<Duration>,
    /// When its current failures in a row began; None after a success.
    failing_since: Option<Duration>,
    good: f32,
    bad: f32,
}

/// The last callers at each endpoint, by slot.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    by_slot: Vec<Vec<Witness>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection. One such failure is enough to eject an endpoint, so one success of
    /// another caller is enough to contradict it.
    Unreachable,
    /// The endpoint took the request. Other callers' shares of failures decide whether the endpoint
    /// is at fault.
    Failed,
}

impl Witnesses {
    /// Takes in an answered request.
    pub(super) fn succeeded(&mut self, slot: u32, who: Identity, now: Duration) {
        let witness = self.witness(slot, who, now);
        witness.last = now;
        witness.last_success = Some(now);
        witness.failing_since = None;
        witness.good = witness.good * KEEP + 1.0;
        witness.bad *= KEEP;
    }

    /// Takes in a failed request. Returns whether what other callers saw contradicts it.
    pub(super) fn failed(
        &mut self,
        slot: u32,
        who: Identity,
        failure: Failure,
        now: Duration,
    ) -> bool {
        let witness = self.witness(slot, who, now);
        witness.last = now;
        let since = *witness.failing_since.get_or_insert(now);
        witness.good *= KEEP;
        witness.bad = witness.bad * KEEP + 1.0;
        let own = *witness;
        let others = self.by_slot[slot as usize].iter().filter(|other| other.who != who);
        match failure {
            Failure::Unreachable => others_reach_it(others, since, now),
            Failure::Failed => others_fare_better(others, &own, since, now),
        }
    }

    fn witness(&mut self, slot: u32, who: Identity, now: Duration) -> &mut Witness {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, Vec::new);
        }
        let known = &mut self.by_slot[slot];
        let index = known.iter().position(|witness| witness.who == who).unwrap_or_else(|| {
            let new = Witness {
                who,
                last: now,
                last_success: None,
                failing_since: None,
                good: 0.0,
                bad: 0.0,
            };
            if known.len() < REMEMBERED {
                known.reserve_exact(1);
                known.push(new);
                return known.len() - 1;
            }
            let by_age = known.iter().enumerate().min_by_key(|(_, witness)| witness.last);
            let oldest = by_age.map_or(0, |(index, _)| index);
            known[oldest] = new;
            oldest
        });
        &mut known[index]
    }
}

fn others_reach_it<'a>(
    others: impl Iterator<Item = &'a Witness> + Clone,
    since: Duration,
    now: Duration,
) -> bool {
    // Another caller had a success since this caller's failures began, so the endpoint is not at
    // fault.
    if others.clone().any(|other| other.last_success.is_some_and(|at| at >= since)) {
        return true;
    }
    let reach = others.clone().filter(|other| other.failing_since.is_none());
    let Some(last) = reach.filter_map(|other| other.last_success).max() else { return false };
    // If another caller has failed since the last success of anyone, the two are believed.
    let seconded = others.filter_map(|other| other.failing_since).any(|began| began > last);
    since.saturating_sub(last) <= LATELY && now.saturating_sub(since) < BEFORE && !seconded
}

fn others_fare_better<'a>(
    others: impl Iterator<Item = &'a Witness>,
    own: &Witness,
    since: Duration,
    now: Duration,
) -> bool {
    let (mut good, mut bad, mut last) = (0.0, 0.0, Duration::ZERO);
    for other in others.filter(|other| since.saturating_sub(other.last) <= LATELY) {
        good += other.good;
        bad += other.bad;
        last = last.max(other.last);
    }
    if good + bad == 0.0 || (last < since && now.saturating_sub(since) >= BEFORE) {
        return false;
    }
    let (own, others) = (own.bad / (own.good + own.bad), bad / (good + bad));
    own > TIMES_OTHERS * others + AND
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Identity = Identity::Uid(1);
    const Y: Identity = Identity::Uid(2);
    const Z: Identity = Identity::Uid(3);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn unreachable(of: &mut Witnesses, who: Identity, at: u64) -> bool {
        of.failed(0, who, Failure::Unreachable, ms(at))
    }

    #[test]
    fn who_alone_can_not_reach_an_endpoint_is_contradicted_for_as_long_as_it_can_not() {
        let mut witnesses = Witnesses::default();
        witnesses.succeeded(0, Y, ms(900));
        assert!(unreachable(&mut witnesses, X, 1_000));
        witnesses.succeeded(0, Y, ms(1_500));
        assert!(unreachable(&mut witnesses, X, 600_000));
    }

    #[test]
    fn who_is_alone_or_alone_of_late_is_believed() {
        let mut witnesses = Witnesses::default();
        assert!(!unreachable(&mut witnesses, X, 1_000));
        let mut witnesses = Witnesses::default();
        witnesses.succeeded(0, Y, ms(1_000));
        assert!(!unreachable(&mut witnesses, X, 12_000));
    }

    #[test]
    fn a_success_from_before_the_failures_contradicts_for_a_second() {
        let mut witnesses = Witnesses::default();
        witnesses.succeeded(0, Y, ms(1_000));
        assert!(unreachable(&mut witnesses, X, 2_000));
        assert!(unreachable(&mut witnesses, X, 2_999));
        assert!(!unreachable(&mut witnesses, X, 3_000));
    }

    #[test]
    fn two_that_fail_since_anyone_succeeded_are_believed_at_once() {
        let mut witnesses = Witnesses::default();
        [X, Y, Z].into_iter().for_each(|who| witnesses.succeeded(0, who, ms(1_000)));
        assert!(unreachable(&mut witnesses, X, 1_010));
        assert!(!unreachable(&mut witnesses, Y, 1_020));
        witnesses.succeeded(0, Z, ms(1_030));
        assert!(unreachable(&mut witnesses, X, 1_040));
    }

    #[test]
    fn failures_that_others_see_as_well_are_the_endpoint_s() {
        let mut witnesses = Witnesses::default();
        let mut contradicted = 0;
        for round in 0..200 {
            for who in [X, Y, Z] {
                // Each fails every second time, from the hundredth round on.
                match round >= 100 && round % 2 == 0 {
                    true => {
                        let failed = witnesses.failed(0, who, Failure::Failed, ms(10 * round));
                        contradicted += u32::from(failed);
                    }
                    false => witnesses.succeeded(0, who, ms(10 * round)),
                }
            }
        }
        assert_eq!(contradicted, 0);
    }

    #[test]
    fn failures_that_others_do_not_see_are_the_caller_s_however_often_it_flips() {
        for every in [1, 2, 3] {
            let mut witnesses = Witnesses::default();
            let mut believed = 0;
            for round in 0..1_000_u64 {
                if round.is_multiple_of(20) {
                    witnesses.succeeded(0, Y, ms(10 * round));
                }
                match round.is_multiple_of(every) {
                    true => {
                        let at = ms(10 * round);
                        believed += u32::from(!witnesses.failed(0, X, Failure::Failed, at));
                    }
                    false => witnesses.succeeded(0, X, ms(10 * round)),
                }
            }
            assert!(believed <= 2, "{believed} of every {every}th");
        }
    }

    fn failed(of: &mut Witnesses, who: Identity, at: u64) -> bool {
        of.failed(0, who, Failure::Failed, ms(at))
    }

    #[test]
    fn another_s_success_says_something_for_ten_seconds() {
        for ask in [unreachable, failed] {
            let contradicted = |at| {
                let mut witnesses = Witnesses::default();
                witnesses.succeeded(0, Y, ms(1_000));
                ask(&mut witnesses, X, at)
            };
            assert_eq!((contradicted(11_000), contradicted(11_001)), (true, false));
        }
    }

    #[test]
    fn a_success_at_the_moment_of_the_first_failure_contradicts_it_for_good() {
        for ask in [unreachable, failed] {
            let mut witnesses = Witnesses::default();
            assert!(!ask(&mut witnesses, X, 1_000));
            witnesses.succeeded(0, Y, ms(1_000));
            assert!(ask(&mut witnesses, X, 2_000));
        }
    }

    #[test]
    fn another_s_failure_seconds_if_nobody_succeeded_since() {
        let contradicted = |other_fails_at| {
            let mut witnesses = Witnesses::default();
            witnesses.succeeded(0, Z, ms(1_000));
            unreachable(&mut witnesses, Y, other_fails_at);
            unreachable(&mut witnesses, X, 1_500)
        };
        assert_eq!((contradicted(1_000), contradicted(1_001)), (true, false));
    }

    #[test]
    fn what_others_saw_before_the_failures_contradicts_them_for_a_second() {
        let mut witnesses = Witnesses::default();
        witnesses.succeeded(0, Y, ms(1_000));
        assert!(failed(&mut witnesses, X, 2_000) && failed(&mut witnesses, X, 2_999));
        assert!(!failed(&mut witnesses, X, 3_000));
        witnesses.succeeded(0, Y, ms(2_500));
        assert!(failed(&mut witnesses, X, 3_000));
    }

    #[test]
    fn a_caller_s_share_of_failures_is_contradicted_above_twice_the_others_and_a_tenth() {
        let contradicted = |others: &str, own: &str| {
            let mut witnesses = Witnesses::default();
            let mut told = |who, outcomes: &str| {
                let mut contradicted = false;
                for outcome in outcomes.chars() {
                    match outcome {
                        's' => witnesses.succeeded(0, who, ms(1_000)),
                        _ => contradicted = failed(&mut witnesses, who, 1_000),
                    }
                }
                contradicted
            };
            told(Y, others);
            told(X, own)
        };
        assert!(contradicted("s", "ssssssssssssf"), "just above a tenth");
        assert!(!contradicted("s", "sssssssssssssf"));
        assert!(contradicted("fssss", "sf"), "a half, where others have 18%");
        assert!(!contradicted("fssss", "ssf"), "a third");
        assert!(!contradicted("f", "f"));
    }

    #[test]
    fn the_caller_that_reported_longest_ago_makes_room() {
        let mut witnesses = Witnesses::default();
        for (uid, at) in [(11, 4_000), (12, 1_000), (13, 3_000), (14, 2_000), (15, 5_000)] {
            witnesses.succeeded(0, Identity::Uid(uid), ms(at));
        }
        let mut known: Vec<Identity> = witnesses.by_slot[0].iter().map(|each| each.who).collect();
        known.sort_unstable();
        assert_eq!(known, [11, 13, 14, 15].map(Identity::Uid));
    }

    #[test]
    fn a_crowd_of_callers_takes_no_more_room() {
        let mut witnesses = Witnesses::default();
        for uid in 0..10_000 {
            witnesses.succeeded(3, Identity::Uid(uid), ms(uid.into()));
        }
        assert_eq!(witnesses.by_slot[3].len(), REMEMBERED);
        assert!(witnesses.failed(3, X, Failure::Unreachable, ms(10_001)));
    }
}
