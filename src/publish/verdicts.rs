//! Endpoints that one caller can't use while others can.
//!
//! The caller's picks avoid such an endpoint for a second, then one of them probes it. Each failure
//! doubles the time, up to a minute, and a success ends it. The picks of other callers do not
//! change.
//!
//! Each caller with such endpoints has a short list of them. All lists of an agent share one quota.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::witnesses::Failure;
use crate::{
    identity::{Identity, PodName, Pods},
    log_limit::LogLimit,
    quota::{Permit, Quota},
};

/// The most verdicts of all callers at all tables. At 120 bytes each they take 2 MiB.
const MOST: usize = 1 << 14;
/// The most verdicts of one caller at one table: each of its picks goes through all of them.
const MOST_OF_ONE: usize = 64;
/// Failures over a connection before a caller avoids the endpoint: two can be bad luck.
const FAILURES: u32 = 3;
/// How long a caller avoids the endpoint at first.
const FIRST: Duration = Duration::from_secs(1);
/// The longest time between two probes.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the outcome of a probe is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A verdict without a new failure for this long is dropped.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The quota of verdicts, and the limit of log lines about them.
#[derive(Debug)]
pub(super) struct Allowance {
    quota: Arc<Quota<Identity>>,
    /// The limit of log lines that name a caller.
    lines: LogLimit,
    /// The names of pods, once they are known.
    pods: OnceLock<Arc<Pods>>,
}

impl Default for Allowance {
    fn default() -> Self {
        let quota = Quota::new("verdicts", MOST);
        Self { quota, lines: LogLimit::default(), pods: OnceLock::new() }
    }
}

impl Allowance {
    /// Sets the names of pods for the log.
    pub(super) fn call_pods(&self, pods: Arc<Pods>) {
        self.pods.get_or_init(|| pods);
    }

    /// The name of a caller, if a log line about one is due.
    pub(super) fn name(&self, caller: Identity, now: Duration) -> Option<PodName> {
        self.lines.due(now).then(|| match self.pods.get() {
            Some(pods) => pods.named(caller),
            None => Pods::default().named(caller),
        })
    }
}

#[derive(Debug)]
struct Verdict {
    slot: u32,
    failure: Failure,
    failures: u32,
    /// How long the caller avoids the endpoint this time; zero: it does not yet.
    length: Duration,
    until: Duration,
    /// A probe is under way.
    trying: bool,
    last: Duration,
    _permit: Permit<Identity>,
}

/// A verdict, as the admin pages show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VerdictSummary {
    pub(super) caller: Identity,
    pub(super) slot: u32,
    pub(super) failure: Failure,
    pub(super) failures: u32,
    pub(super) until: Duration,
}

#[derive(Debug)]
pub(super) struct Verdicts {
    by_caller: HashMap<Identity, Vec<Verdict>>,
    allowance: Arc<Allowance>,
}

impl Verdicts {
    pub(super) fn new(allowance: Arc<Allowance>) -> Self {
        Self { by_caller: HashMap::new(), allowance }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_caller.is_empty()
    }

    /// Adds the slots that this caller avoids.
    pub(super) fn avoided(&self, caller: Identity, now: Duration, slots: &mut Vec<u32>) {
        let verdicts = self.by_caller.get(&caller).into_iter().flatten();
        slots.extend(verdicts.filter(|verdict| now < verdict.until).map(|verdict| verdict.slot));
    }

    /// Takes in a pick of this caller: it is the probe, if one is due.
    pub(super) fn picked(&mut self, caller: Identity, slot: u32, now: Duration) {
        if let Some(verdict) = self.find(caller, slot)
            && verdict.length > Duration::ZERO
            && verdict.until <= now
        {
            verdict.trying = true;
            verdict.until = now + PATIENCE;
        }
    }

    /// Takes in a failure of this caller where other callers' requests do not fail. Returns true if
    /// the caller begins to avoid the endpoint.
    pub(super) fn failed(
        &mut self,
        caller: Identity,
        slot: u32,
        failure: Failure,
        now: Duration,
    ) -> bool {
        if self.find(caller, slot).is_none() && !self.add(caller, slot, failure, now) {
            return false;
        }
        let Some(verdict) = self.find(caller, slot) else { return false };
        verdict.failures = verdict.failures.saturating_add(1);
        (verdict.last, verdict.failure) = (now, failure);
        // A request that began before the verdict says nothing new.
        let under_way = now < verdict.until && !verdict.trying;
        let enough = failure == Failure::Unreachable || verdict.failures >= FAILURES;
        if under_way || !enough {
            return false;
        }
        let first = verdict.length == Duration::ZERO;
        verdict.length = if first { FIRST } else { (verdict.length * 2).min(LONGEST) };
        verdict.until = now + verdict.length;
        verdict.trying = false;
        first
    }

    /// Takes in a failure of this caller where other callers' requests fail, too. It only extends a
    /// verdict that there is.
    pub(super) fn failed_as_others(
        &mut self,
        caller: Identity,
        slot: u32,
        failure: Failure,
        now: Duration,
    ) {
        if self.find(caller, slot).is_some() {
            self.failed(caller, slot, failure, now);
        }
    }

    /// Takes in a success of this caller, which ends the verdict.
    pub(super) fn succeeded(&mut self, caller: Identity, slot: u32) {
        if let Some(verdicts) = self.by_caller.get_mut(&caller) {
            verdicts.retain(|verdict| verdict.slot != slot);
            if verdicts.is_empty() {
                self.by_caller.remove(&caller);
            }
        }
    }

    /// Takes in a probe without a result: the next one may begin after the same time again. If it
    /// began at once, a caller that gives up on a network that drops its packets would always have
    /// a request there.
    pub(super) fn unjudged(&mut self, caller: Identity, slot: u32, now: Duration) {
        if let Some(verdict) = self.find(caller, slot).filter(|verdict| verdict.trying) {
            verdict.trying = false;
            verdict.until = now + verdict.length;
        }
    }

    /// Drops the verdicts on other slots, and those without a new failure for [`FORGOTTEN`].
    pub(super) fn retain(&mut self, now: Duration, stays: impl Fn(u32) -> bool) {
        self.by_caller.retain(|_, verdicts| {
            verdicts.retain(|each| stays(each.slot) && now < each.last + FORGOTTEN);
            !verdicts.is_empty()
        });
    }

    /// The verdicts by which callers avoid endpoints now.
    pub(super) fn all(&self) -> impl Iterator<Item = VerdictSummary> {
        self.by_caller.iter().flat_map(|(caller, verdicts)| {
            verdicts.iter().filter(|each| each.length > Duration::ZERO).map(|each| VerdictSummary {
                caller: *caller,
                slot: each.slot,
                failure: each.failure,
                failures: each.failures,
                until: each.until,
            })
        })
    }

    fn find(&mut self, caller: Identity, slot: u32) -> Option<&mut Verdict> {
        self.by_caller.get_mut(&caller)?.iter_mut().find(|verdict| verdict.slot == slot)
    }

    /// Adds a verdict. Returns false if there is no room for it.
    fn add(&mut self, caller: Identity, slot: u32, failure: Failure, now: Duration) -> bool {
        if self.by_caller.get(&caller).is_some_and(|verdicts| verdicts.len() >= MOST_OF_ONE) {
            return false;
        }
        let permit = self.allowance.quota.take(caller).or_else(|exhausted| {
            self.retain(now, |_| true);
            self.allowance.quota.take(caller).map_err(|_| exhausted)
        });
        let Ok(permit) = permit else { return false };
        self.by_caller.entry(caller).or_default().push(Verdict {
            slot,
            failure,
            failures: 0,
            length: Duration::ZERO,
            until: now,
            trying: false,
            last: now,
            _permit: permit,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Identity = Identity::Uid(1);
    const Y: Identity = Identity::Uid(2);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn verdicts() -> Verdicts {
        Verdicts::new(Arc::default())
    }

    fn avoided(of: &Verdicts, caller: Identity, at: u64) -> Vec<u32> {
        let mut slots = Vec::new();
        of.avoided(caller, ms(at), &mut slots);
        slots
    }

    #[test]
    fn a_caller_is_kept_away_for_a_second_then_two_and_tries_once_each_time() {
        let mut verdicts = verdicts();
        assert!(verdicts.failed(X, 7, Failure::Unreachable, ms(0)));
        assert!(!verdicts.failed(X, 7, Failure::Unreachable, ms(10)), "it was under way");
        assert_eq!((avoided(&verdicts, X, 999), avoided(&verdicts, Y, 0)), (vec![7], vec![]));
        assert!(avoided(&verdicts, X, 1_000).is_empty());
        verdicts.picked(X, 7, ms(1_000));
        assert_eq!(avoided(&verdicts, X, 1_001), [7], "one tries it");
        assert!(!verdicts.failed(X, 7, Failure::Unreachable, ms(1_010)));
        assert_eq!(avoided(&verdicts, X, 3_009), [7]);
        assert!(avoided(&verdicts, X, 3_010).is_empty());
        verdicts.picked(X, 7, ms(3_010));
        verdicts.succeeded(X, 7);
        assert!(verdicts.is_empty());
    }

    #[test]
    fn a_try_that_nobody_judged_is_followed_by_another() {
        let mut verdicts = verdicts();
        verdicts.failed(X, 7, Failure::Unreachable, ms(0));
        verdicts.picked(X, 7, ms(1_000));
        verdicts.unjudged(X, 7, ms(1_500));
        assert_eq!(avoided(&verdicts, X, 2_499), [7], "not at once");
        assert!(avoided(&verdicts, X, 2_500).is_empty());
        verdicts.picked(X, 7, ms(2_500));
        assert!(avoided(&verdicts, X, 12_500).is_empty(), "nor is it waited for long");
    }

    #[test]
    fn three_failures_keep_away_where_there_was_a_connection() {
        let mut verdicts = verdicts();
        assert!(!verdicts.failed(X, 7, Failure::Failed, ms(0)));
        assert!(!verdicts.failed(X, 7, Failure::Failed, ms(1)));
        assert_eq!(verdicts.all().count(), 0);
        assert!(verdicts.failed(X, 7, Failure::Failed, ms(2)));
        assert_eq!(avoided(&verdicts, X, 3), [7]);
    }

    #[test]
    fn each_probe_that_fails_doubles_the_time_up_to_a_minute() {
        let mut verdicts = verdicts();
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            verdicts.picked(X, 7, ms(now));
            assert_eq!(verdicts.failed(X, 7, Failure::Unreachable, ms(now)), seconds == 1);
            assert_eq!(avoided(&verdicts, X, now + 1000 * seconds - 1), [7]);
            now += 1000 * seconds;
            assert!(avoided(&verdicts, X, now).is_empty());
        }
        let view = verdicts.all().next().expect("there is one");
        assert_eq!((view.failures, view.until), (8, ms(now)));
    }

    #[test]
    fn a_verdict_is_forgotten_ten_minutes_after_its_last_failure_or_with_its_slot() {
        let mut verdicts = verdicts();
        verdicts.failed(X, 7, Failure::Unreachable, ms(0));
        verdicts.failed(X, 8, Failure::Unreachable, ms(0));
        verdicts.retain(FORGOTTEN - ms(1), |slot| slot != 8);
        assert_eq!(verdicts.all().map(|view| view.slot).collect::<Vec<_>>(), [7]);
        verdicts.retain(FORGOTTEN, |_| true);
        assert!(verdicts.is_empty());
    }

    #[test]
    fn what_others_see_as_well_only_prolongs_what_there_is() {
        let mut verdicts = verdicts();
        verdicts.failed_as_others(X, 7, Failure::Unreachable, ms(0));
        assert!(verdicts.is_empty());
        verdicts.failed(X, 7, Failure::Unreachable, ms(0));
        verdicts.picked(X, 7, ms(1_000));
        verdicts.failed_as_others(X, 7, Failure::Unreachable, ms(1_000));
        assert_eq!(avoided(&verdicts, X, 2_999), [7]);
    }

    #[test]
    fn a_success_ends_the_verdict_on_its_endpoint_alone() {
        let mut verdicts = verdicts();
        verdicts.failed(X, 7, Failure::Unreachable, ms(0));
        verdicts.failed(X, 8, Failure::Unreachable, ms(0));
        verdicts.failed(Y, 7, Failure::Unreachable, ms(0));
        verdicts.succeeded(X, 7);
        assert_eq!((avoided(&verdicts, X, 1), avoided(&verdicts, Y, 1)), (vec![8], vec![7]));
    }

    #[test]
    fn a_request_from_before_is_no_probe_and_its_end_moves_nothing() {
        let mut verdicts = verdicts();
        verdicts.failed(X, 7, Failure::Unreachable, ms(0));
        verdicts.picked(X, 7, ms(500));
        verdicts.unjudged(X, 7, ms(900));
        assert!(avoided(&verdicts, X, 1_000).is_empty());
    }

    #[test]
    fn one_caller_has_so_many_and_leaves_room_for_the_next() {
        let quota = Quota::new("verdicts", 400);
        let allowance = Arc::new(Allowance { quota, ..Allowance::default() });
        let mut tables: Vec<_> = (0..10).map(|_| Verdicts::new(allowance.clone())).collect();
        for table in &mut tables {
            (0..100).for_each(|slot| _ = table.failed(X, slot, Failure::Unreachable, ms(0)));
        }
        assert_eq!(tables[0].all().count(), MOST_OF_ONE);
        assert_eq!(allowance.quota.in_use(), 300);
        assert!(tables[9].failed(Y, 0, Failure::Unreachable, ms(0)));
        tables.iter_mut().for_each(|table| table.retain(FORGOTTEN, |_| true));
        assert_eq!(allowance.quota.in_use(), 0);
    }
}
