//! Connections that keep the agent waiting for a request or the rest of a frame, and how long they
//! may.
//!
//! HTTP/2 has no limit to that, and HTTP/1.1's is a timer for each request, which costs about as
//! much as its answer: a timer that is sooner than all others wakes the thread that waits for
//! them. So every few seconds somebody looks at all connections, and a connection only notes since
//! which look it is waited for, which needs no clock.

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

/// How often somebody looks; a connection may take so much longer.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks in which a connection is waited for before it was for long expiry: the first comes right
/// after it began, in the worst case.
const EXPIRED_AFTER: u64 = WAIT_TIME.as_secs().div_ceil(CHECK_INTERVAL.as_secs()) + 1;

/// Waited for at no time.
const NEVER: u64 = u64::MAX;

/// All connections that may be waited for.
#[derive(Debug)]
pub(super) struct IdleTimeouts {
    /// How many looks there were.
    checks: Arc<AtomicU64>,
    all: Mutex<Vec<Weak<IdleTimer>>>,
}

/// Since when one connection is waited for.
#[derive(Debug)]
pub(super) struct IdleTimer {
    checks: Arc<AtomicU64>,
    /// How many looks there had been when its next request was waited for.
    request_since: AtomicU64,
    /// The same for the rest of a frame.
    frame_since: AtomicU64,
    /// A request has come since somebody asked.
    received: AtomicBool,
    expiry: Notify,
}

impl IdleTimeouts {
    pub(super) fn new() -> Self {
        Self { checks: Arc::default(), all: Mutex::default() }
    }

    /// A new connection: from now on its first request is waited for.
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

    /// Tells connections that took too long; never returns.
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
    /// The next request is waited for from now on.
    pub(super) fn await_request(&self) {
        self.request_since.store(self.now(), Relaxed);
    }

    /// The rest of a frame is waited for from now on, or no more.
    pub(super) fn await_frame(&self, awaited: bool) {
        self.frame_since.store(if awaited { self.now() } else { NEVER }, Relaxed);
    }

    fn now(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// A request is there.
    pub(super) fn request_received(&self) {
        self.request_since.store(NEVER, Relaxed);
        self.received.store(true, Relaxed);
    }

    /// Whether a request has come since this was asked.
    pub(super) fn take_received(&self) -> bool {
        self.received.load(Relaxed) && self.received.swap(false, Relaxed)
    }

    /// Whether something is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        [&self.request_since, &self.frame_since]
            .into_iter()
            .any(|since| since.load(Relaxed) != NEVER)
    }

    /// Done when it was waited for long expiry.
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
