//! When each table is due.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::wakeup::TableId;

/// The time at which each table is due next. A table without a time is not due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    in_order: BTreeSet<(Duration, TableId)>,
    by_table: HashMap<TableId, Duration>,
}

impl Schedule {
    /// Makes the table due at `at`, instead of any time set before.
    pub(super) fn set(&mut self, table: TableId, at: Duration) {
        self.cancel(table);
        self.by_table.insert(table, at);
        self.in_order.insert((at, table));
    }

    pub(super) fn cancel(&mut self, table: TableId) {
        if let Some(at) = self.by_table.remove(&table) {
            self.in_order.remove(&(at, table));
        }
    }

    /// Takes the tables that are due by now, the earliest first, each with the time since which it
    /// is due.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(Duration, TableId)> {
        let mut due = Vec::new();
        while let Some(&(at, table)) = self.in_order.first()
            && at <= now
        {
            self.in_order.pop_first();
            self.by_table.remove(&table);
            due.push((at, table));
        }
        due
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.in_order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_table_is_due_at_the_time_set_last_and_once() {
        let mut schedule = Schedule::default();
        schedule.set(1, ms(5));
        schedule.set(2, ms(3));
        schedule.set(1, ms(4));
        schedule.set(3, ms(4));
        schedule.cancel(3);
        assert_eq!(schedule.next(), Some(ms(3)));
        assert_eq!(schedule.take_due(ms(4)), [(ms(3), 2), (ms(4), 1)]);
        assert_eq!((schedule.take_due(ms(9)), schedule.next()), (vec![], None));
    }
}
