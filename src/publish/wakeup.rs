//! Which sleeping tables a caller woke.
//!
//! A table that sleeps asks its callers for a message with their next pick, report or end. The
//! message names the table, so that one caller does not have all sleeping tables looked at.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::AcqRel},
};

use pointsman_table::Waker;

use super::{shared::lock, wake_event::WakeEvent};

/// Tells tables of this process apart, also those of one target that came one after the other.
pub(super) type TableId = u64;

/// The tables that were woken and not yet taken care of.
#[derive(Debug)]
pub(super) struct Wakeups {
    bell: WakeEvent,
    woken: Mutex<Vec<Arc<Wakeup>>>,
}

/// One table's place there.
#[derive(Debug)]
struct Wakeup {
    table: TableId,
    /// It is among the woken.
    sent: AtomicBool,
}

impl Wakeups {
    pub(super) fn new(bell: WakeEvent) -> Arc<Self> {
        Arc::new(Self { bell, woken: Mutex::default() })
    }

    /// For the callers of a table.
    pub(super) fn waker(self: &Arc<Self>, table: TableId) -> Waker {
        let wakeup = Arc::new(Wakeup { table, sent: AtomicBool::new(false) });
        let wakeups = self.clone();
        Waker::calling(move || {
            // Most callers find that another one has been faster: no lock and no system call.
            if !wakeup.sent.swap(true, AcqRel) {
                lock(&wakeups.woken).push(wakeup.clone());
                wakeups.bell.ring();
            }
        })
    }

    /// What the thread listens for.
    pub(super) fn bell(&self) -> &WakeEvent {
        &self.bell
    }

    /// The tables woken since the last call. What their callers counted before they sent a message
    /// is seen by whoever looks after this.
    pub(super) fn take(&self) -> Vec<TableId> {
        let woken = std::mem::take(&mut *lock(&self.woken));
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
