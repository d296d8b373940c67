//! Holds back what a control plane tells that is behind the one before it.
//!
//! An agent moves when its control plane ends, or a balancer before several of them chooses another one. That one may
//! have read less of the cluster so far: an endpoint that is gone would come back, and be picked.

use std::{collections::BTreeMap, time::Duration};

use ::xds::client::Event;

use super::resource::Resource;
use crate::catalog::progress::Progress;

/// What a server tells that is behind counts after this long, whatever it has read. A watch of an API server that
/// works is not so far behind, and a cluster that was restored from a backup counts from an earlier number.
/// Range 5 to 120 s.
pub(in crate::source::xds) const LONGEST_HOLD: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Hold<T> {
    /// How far those had read whose word counted.
    counted: Progress,
    /// How far the one had read whose word is held back.
    behind: Progress,
    /// When it counts in any case; None: nothing is held back.
    end: Option<Duration>,
    /// The last of each resource.
    events: BTreeMap<Resource, Event<T>>,
}

/// What a response means for those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Counts,
    /// It counts, and so does what was held back.
    CaughtUp,
    /// It is the first that is held back.
    FallsBehind,
    /// It is held back, as those before it.
    StaysBehind,
}

impl<T> Default for Hold<T> {
    fn default() -> Self {
        let (counted, behind) = (Progress::default(), Progress::default());
        Self { counted, behind, end: None, events: BTreeMap::new() }
    }
}

impl<T> Hold<T> {
    /// Judges a response by its server's version.
    pub(super) fn judge(&mut self, version: &str, now: Duration) -> Verdict {
        // Without a version there is nothing to compare.
        let progress: Progress = version.parse().unwrap_or_default();
        if progress.is_behind(&self.counted) {
            self.behind = progress;
            return match self.end.replace(self.end.unwrap_or(now + LONGEST_HOLD)) {
                None => Verdict::FallsBehind,
                Some(_) => Verdict::StaysBehind,
            };
        }
        if !progress.is_empty() {
            self.counted = std::mem::take(&mut self.counted).with(progress);
        }
        match self.end.take() {
            Some(_) => Verdict::CaughtUp,
            None => Verdict::Counts,
        }
    }

    pub(super) fn keep(&mut self, resource: Resource, event: Event<T>) {
        self.events.insert(resource, event);
    }

    /// Nobody wants this resource any more.
    pub(super) fn forget(&mut self, resource: &Resource) {
        self.events.remove(resource);
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event<T>> {
        self.events.values()
    }

    /// What was held back, in the order in which it is read.
    pub(super) fn take(&mut self) -> Vec<Event<T>> {
        std::mem::take(&mut self.events).into_values().collect()
    }

    pub(super) fn end(&self) -> Option<Duration> {
        self.end
    }

    /// Whether the time is over at `now`. From then on the server counts that was behind.
    pub(super) fn is_over(&mut self, now: Duration) -> bool {
        let over = self.end.is_some_and(|end| now >= end);
        if over {
            self.end = None;
            self.counted = std::mem::take(&mut self.behind);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_is_held_back_until_it_has_caught_up() {
        let mut hold = Hold::<()>::default();
        let at = Duration::from_secs;
        assert_eq!(hold.judge("a/x=5:5", at(1)), Verdict::Counts);
        assert_eq!(hold.judge("a/x=4:4", at(2)), Verdict::FallsBehind);
        assert_eq!(hold.judge("a/x=3:3", at(20)), Verdict::StaysBehind);
        assert_eq!(hold.end(), Some(at(32)), "from the first one on");
        assert!(!hold.is_over(at(31)));
        assert_eq!(hold.judge("a/x=5:5", at(31)), Verdict::CaughtUp);
        assert_eq!((hold.end(), hold.is_over(at(100))), (None, false));
        assert_eq!(hold.judge("a/x=6:6", at(32)), Verdict::Counts);
    }

    #[test]
    fn after_its_time_the_server_counts_that_was_behind() {
        let mut hold = Hold::<()>::default();
        let at = Duration::from_secs;
        hold.judge("a/x=5:5", at(1));
        hold.judge("a/x=3:3", at(2));
        assert!(hold.is_over(at(32)) && !hold.is_over(at(33)));
        assert_eq!(hold.judge("a/x=3:3", at(33)), Verdict::Counts);
        assert_eq!(hold.judge("a/x=2:2", at(34)), Verdict::FallsBehind);
    }

    #[test]
    fn who_can_not_be_compared_counts() {
        let mut hold = Hold::<()>::default();
        hold.judge("a/x=5:5", Duration::ZERO);
        for other in ["b/x=1:1", "a/x=1:1,a/y=1:1", "version-1", ""] {
            assert_eq!(hold.judge(other, Duration::ZERO), Verdict::Counts, "{other}");
        }
    }
}
