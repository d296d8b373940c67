//! Limits log lines that others can cause, such as by an annotation. Namespaces take turns, so that none
//! keeps the lines of another from the log.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use crate::catalog::ServiceName;

/// Lines within [`PERIOD`]: enough for a person's mistakes, and at most 173,000 a day from somebody who
/// wants to fill the logs of all nodes.
pub(super) const LINES: usize = 20;
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Limits the number of lines.
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    written: usize,
    since: Duration,
}

impl LineBudget {
    /// How many lines may be written now.
    pub(super) fn left(&mut self, now: Duration) -> usize {
        if now.saturating_sub(self.since) >= PERIOD {
            *self = Self { written: 0, since: now };
        }
        LINES.saturating_sub(self.written)
    }

    /// Spends so many lines.
    pub(super) fn wrote(&mut self, lines: usize) {
        self.written += lines;
    }

    /// The time until the budget is full again.
    pub(super) fn until_refill(&self, now: Duration) -> Duration {
        (self.since + PERIOD).saturating_sub(now)
    }
}

/// Waiting items by namespace, in order.
#[derive(Debug)]
pub(super) struct FairQueue<T>(BTreeMap<Arc<str>, VecDeque<T>>);

impl<T> FairQueue<T> {
    /// `waiting`: the items, in order.
    pub(super) fn new(waiting: impl IntoIterator<Item = (ServiceName, T)>) -> Self {
        let mut queue: BTreeMap<_, VecDeque<T>> = BTreeMap::new();
        for (name, waiting) in waiting {
            queue.entry(name.namespace).or_default().push_back(waiting);
        }
        Self(queue)
    }

    /// Takes at most `most` items, one of each namespace in turn. `last`: the namespace that had the last
    /// turn; the next turn is that of the namespace after it.
    pub(super) fn take(mut self, most: usize, last: &mut Arc<str>) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < most && !self.0.is_empty() {
            let after = self.0.range::<Arc<str>, _>((Excluded(&*last), Unbounded)).next();
            let next = after.or_else(|| self.0.first_key_value()).map(|(namespace, _)| namespace);
            let Some(next) = next.cloned() else { break };
            if let Some(waiting) = self.0.get_mut(&next) {
                taken.extend(waiting.pop_front());
                if waiting.is_empty() {
                    self.0.remove(&next);
                }
            }
            *last = next;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(waiting: &[&str]) -> FairQueue<String> {
        let waiting = waiting.iter().map(|name| (name.parse().unwrap(), (*name).to_owned()));
        FairQueue::new(waiting)
    }

    #[test]
    fn each_namespace_has_its_turn_before_any_has_its_next() {
        let mut last = Arc::from("");
        let all = ["a.x", "b.x", "c.x", "d.x", "a.y", "b.y", "a.z"];
        let taken = queue(&all).take(5, &mut last);
        assert_eq!(taken, ["a.x", "a.y", "a.z", "b.x", "b.y"]);
        // The namespace that came last does not come first again.
        assert_eq!(queue(&all).take(2, &mut last), ["a.z", "a.x"]);
        assert_eq!(queue(&all).take(100, &mut last).len(), all.len());
        assert!(queue(&[]).take(100, &mut last).is_empty());
    }

    #[test]
    fn so_many_lines_are_written_within_a_pause() {
        let mut budget = LineBudget::default();
        let second = Duration::from_secs;
        assert_eq!(budget.left(second(1)), LINES);
        budget.wrote(LINES - 1);
        assert_eq!(budget.left(second(5)), 1);
        budget.wrote(1);
        assert_eq!((budget.left(second(9)), budget.until_refill(second(9))), (0, second(1)));
        assert_eq!(budget.left(second(10)), LINES);
    }
}
