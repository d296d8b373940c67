//! When the task that ends leases looks next. It sleeps until then, and a deadline that comes sooner
//! wakes it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

#[derive(Debug)]
pub(super) struct NextLook {
    /// In nanoseconds since `start`; `u64::MAX`: no deadline.
    at: AtomicU64,
    sooner: Notify,
    start: Instant,
}

impl NextLook {
    pub(super) fn new() -> Self {
        Self { at: AtomicU64::new(u64::MAX), sooner: Notify::new(), start: Instant::now() }
    }

    /// Forgets the deadline. From here on, every new one wakes the task until the earliest one is
    /// known again.
    pub(super) fn forget(&self) {
        self.at.store(u64::MAX, Ordering::SeqCst);
    }

    /// When it is due; None: there is no deadline.
    pub(super) fn due(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::SeqCst);
        (at < u64::MAX).then(|| self.start + Duration::from_nanos(at))
    }

    /// Wakes the task if it would look later than at `deadline`.
    pub(super) fn at_latest(&self, deadline: Instant) {
        if self.bring_forward(deadline) {
            self.wake();
        }
    }

    /// Wakes the task, whatever the deadline is.
    pub(super) fn wake(&self) {
        self.sooner.notify_one();
    }

    /// Waits until it is due, or until the task is woken.
    pub(super) async fn wait(&self) {
        match self.due() {
            None => self.sooner.notified().await,
            // The next look is at everything, whichever of the two ended the wait.
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.sooner.notified() => {}
            },
        }
    }

    /// Moves the next look forward to `deadline`. Returns false if it is due earlier already.
    pub(super) fn bring_forward(&self, deadline: Instant) -> bool {
        let at = u64::try_from((deadline - self.start).as_nanos()).unwrap_or(u64::MAX - 1);
        // The load keeps the usual case, a later deadline than the awaited one, free of a write.
        at < self.at.load(Ordering::SeqCst) && at < self.at.fetch_min(at, Ordering::SeqCst)
    }
}
