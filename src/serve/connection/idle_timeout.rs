//! Closes connections that keep the agent waiting for a request or for the rest of a frame.
//!
//! h2 has no such timeout. hyper's for HTTP/1.1 is a timer for each request, which costs about as much
//! as the answer: a timer that is due before all others wakes the thread that waits for them. Here one
//! task checks all connections every few seconds. A connection notes only in which check its wait
//! began, which needs no clock.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::serve::limits::WAIT_TIME;

/// How often connections are checked. One may wait for so much longer than the limit.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A connection expires after so many checks: one more than the limit has, since the first may come
/// right after the wait began.
const EXPIRED_AFTER: u64 = WAIT_TIME.as_secs().div_ceil(CHECK_INTERVAL.as_secs()) + 1;

/// No wait.
const NEVER: u64 = u64::MAX;

/// The timers of all connections.
#[derive(Debug)]
pub(super) struct IdleTimeouts {
    /// The number of checks so far.
    checks: Arc<AtomicU64>,
    all: Mutex<Vec<Weak<IdleTimer>>>,
}

/// Since when the agent waits for one connection.
#[derive(Debug)]
pub(super) struct IdleTimer {
    checks: Arc<AtomicU64>,
    /// The number of checks when the wait for the next request began.
    request_since: AtomicU64,
    /// The same for the rest of a frame.
    frame_since: AtomicU64,
    /// A request has come since the last [`IdleTimer::take_received`].
    received: AtomicBool,
    expiry: Notify,
}

impl IdleTimeouts {
    pub(super) fn new() -> Self {
        Self { checks: Arc::default(), all: Mutex::default() }
    }

    /// Adds a connection. The wait for its first request begins.
    pub(super) fn add(&self) -> Arc<IdleTimer> {
        let never = || AtomicU64::new(NEVER);
        let (request_since, frame_since, received, expiry) =
            (never(), never(), AtomicBool::default(), Notify::new());
        let timer = Arc::new(IdleTimer {
            checks: self.checks.clone(),
            request_since,
            frame_since,
            received,
            expiry,
        });
        timer.await_request();
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&timer));
        timer
    }

    /// Notifies connections that waited too long. Never returns.
    pub(super) async fn run(&self) {
        let mut looks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = self.checks.fetch_add(1, Relaxed) + 1;
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|timer| match timer.upgrade() {
                Some(timer) => !timer.notify_if_expired(now),
                None => false,
            });
        }
    }
}

impl IdleTimer {
    /// The wait for the next request begins.
    pub(super) fn await_request(&self) {
        self.request_since.store(self.now(), Relaxed);
    }

    /// The wait for the rest of a frame begins, or ends.
    pub(super) fn await_frame(&self, awaited: bool) {
        self.frame_since.store(if awaited { self.now() } else { NEVER }, Relaxed);
    }

    fn now(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// A request has come, which ends the wait.
    pub(super) fn request_received(&self) {
        self.request_since.store(NEVER, Relaxed);
        self.received.store(true, Relaxed);
    }

    /// Whether a request has come since the last call of this.
    pub(super) fn take_received(&self) -> bool {
        self.received.load(Relaxed) && self.received.swap(false, Relaxed)
    }

    pub(super) fn is_waiting(&self) -> bool {
        [&self.request_since, &self.frame_since]
            .into_iter()
            .any(|since| since.load(Relaxed) != NEVER)
    }

    /// Completes when the connection has kept the agent waiting for too long.
    pub(super) async fn expired(&self) {
        self.expiry.notified().await;
    }

    fn notify_if_expired(&self, now: u64) -> bool {
        let expired = [&self.request_since, &self.frame_since].into_iter().any(|since| {
            let since = since.load(Relaxed);
            since != NEVER && now - since >= EXPIRED_AFTER
        });
        if expired {
            self.expiry.notify_one();
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    async fn expires(after: Duration) -> bool {
        let timeouts = Arc::new(IdleTimeouts::new());
        let looks = timeouts.clone();
        let looking = tokio::spawn(async move { looks.run().await });
        let timer = timeouts.add();
        let expired = timeout(after, timer.expired()).await.is_ok();
        looking.abort();
        expired
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_told_after_its_time_and_not_much_later() {
        assert!(!expires(WAIT_TIME).await);
        assert!(expires(WAIT_TIME + CHECK_INTERVAL + CHECK_INTERVAL).await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_not_waited_for_while_it_has_a_request() {
        let timeouts = Arc::new(IdleTimeouts::new());
        let looks = timeouts.clone();
        tokio::spawn(async move { looks.run().await });
        let timer = timeouts.add();
        timer.request_received();
        sleep(10 * WAIT_TIME).await;
        timer.await_request();
        assert!(timeout(WAIT_TIME / 2, timer.expired()).await.is_err());
        assert!(timeout(WAIT_TIME, timer.expired()).await.is_ok());
        drop(timer);
        sleep(2 * CHECK_INTERVAL).await;
        assert!(timeouts.all.lock().unwrap().is_empty(), "who is gone is forgotten");
    }
}
