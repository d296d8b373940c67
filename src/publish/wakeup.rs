//! The sleeping tables that callers woke.
//!
//! A table that sleeps asks its callers for a wake-up with their next pick, report or end. The
//! wake-up names the table. Otherwise one caller would make the thread sweep all sleeping tables.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::AcqRel},
};

use pointsman_table::Waker;

use super::wake_event::WakeEvent;

/// Distinguishes the tables of this process, also two tables that one target had one after the
/// other.
pub(super) type TableId = u64;

/// The tables that were woken and that the thread has not handled yet.
#[derive(Debug)]
pub(super) struct Wakeups {
    event: WakeEvent,
    woken: Mutex<Vec<Arc<Wakeup>>>,
}

/// The wake-up of one table.
#[derive(Debug)]
struct Wakeup {
    table: TableId,
    /// The table is in `woken` already.
    sent: AtomicBool,
}

impl Wakeups {
    pub(super) fn new(event: WakeEvent) -> Arc<Self> {
        Arc::new(Self { event, woken: Mutex::default() })
    }

    fn woken(&self) -> MutexGuard<'_, Vec<Arc<Wakeup>>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waker for the callers of a table.
    pub(super) fn waker(self: &Arc<Self>, table: TableId) -> Waker {
        let wakeup = Arc::new(Wakeup { table, sent: AtomicBool::new(false) });
        let wakeups = self.clone();
        Waker::calling(move || {
            // Usually another caller has sent the wake-up already: then this takes no lock and no
            // system call.
            if !wakeup.sent.swap(true, AcqRel) {
                wakeups.woken().push(wakeup.clone());
                wakeups.event.signal();
            }
        })
    }

    /// The event that the publishing thread waits for.
    pub(super) fn event(&self) -> &WakeEvent {
        &self.event
    }

    /// Takes the tables woken since the last call. A sweep after this call sees what their callers
    /// counted before the wake-up.
    pub(super) fn take(&self) -> Vec<TableId> {
        let woken = std::mem::take(&mut *self.woken());
        let taken = woken.iter().map(|wakeup| {
            wakeup.sent.swap(false, AcqRel);
            wakeup.table
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_woken_once_until_it_is_taken() {
        let wakeups = Wakeups::new(WakeEvent::new().expect("an eventfd"));
        let (one, other) = (wakeups.waker(1), wakeups.waker(2));
        assert!(one.wake() && other.wake() && one.wake());
        assert_eq!(wakeups.take(), [1, 2]);
        assert!(wakeups.take().is_empty() && one.wake());
        assert_eq!(wakeups.take(), [1]);
    }
}
