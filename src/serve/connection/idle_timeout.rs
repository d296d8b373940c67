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
const LOOK: Duration = Duration::from_secs(5);

/// Looks in which a connection is waited for before it was for long enough: the first comes right
/// after it began, in the worst case.
const PATIENT_LOOKS: u64 = WAIT_TIME.as_secs().div_ceil(LOOK.as_secs()) + 1;

/// Waited for at no time.
const NEVER: u64 = u64::MAX;

/// All connections that may be waited for.
#[derive(Debug)]
pub(super) struct Patience {
    /// How many looks there were.
    looks: Arc<AtomicU64>,
    all: Mutex<Vec<Weak<Waiting>>>,
}

/// Since when one connection is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    looks: Arc<AtomicU64>,
    /// How many looks there had been when its next request was waited for.
    since: AtomicU64,
    /// The same for the rest of a frame.
    rest: AtomicU64,
    /// A request has come since somebody asked.
    begun: AtomicBool,
    enough: Notify,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { looks: Arc::default(), all: Mutex::default() }
    }

    /// A new connection: from now on its first request is waited for.
    pub(super) fn wait(&self) -> Arc<Waiting> {
        let never = || AtomicU64::new(NEVER);
        let (since, rest, begun, enough) = (never(), never(), AtomicBool::default(), Notify::new());
        let waiting = Arc::new(Waiting { looks: self.looks.clone(), since, rest, begun, enough });
        waiting.begin();
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&waiting));
        waiting
    }

    /// Tells connections that took too long; never returns.
    pub(super) async fn look(&self) {
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = self.looks.fetch_add(1, Relaxed) + 1;
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|waiting| match waiting.upgrade() {
                Some(waiting) => !waiting.tell_if_over(now),
                None => false,
            });
        }
    }
}

impl Waiting {
    /// The next request is waited for from now on.
    pub(super) fn begin(&self) {
        self.since.store(self.now(), Relaxed);
    }

    /// The rest of a frame is waited for from now on, or no more.
    pub(super) fn rest(&self, awaited: bool) {
        self.rest.store(if awaited { self.now() } else { NEVER }, Relaxed);
    }

    fn now(&self) -> u64 {
        self.looks.load(Relaxed)
    }

    /// A request is there.
    pub(super) fn end(&self) {
        self.since.store(NEVER, Relaxed);
        self.begun.store(true, Relaxed);
    }

    /// Whether a request has come since this was asked.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed) && self.begun.swap(false, Relaxed)
    }

    /// Whether something is waited for.
    pub(super) fn awaits(&self) -> bool {
        [&self.since, &self.rest].into_iter().any(|since| since.load(Relaxed) != NEVER)
    }

    /// Done when it was waited for long enough.
    pub(super) async fn over(&self) {
        self.enough.notified().await;
    }

    fn tell_if_over(&self, now: u64) -> bool {
        let over = [&self.since, &self.rest].into_iter().any(|since| {
            let since = since.load(Relaxed);
            since != NEVER && now - since >= PATIENT_LOOKS
        });
        if over {
            self.enough.notify_one();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    async fn told(after: Duration) -> bool {
        let patience = Arc::new(Patience::new());
        let looks = patience.clone();
        let looking = tokio::spawn(async move { looks.look().await });
        let waiting = patience.wait();
        let told = timeout(after, waiting.over()).await.is_ok();
        looking.abort();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_told_after_its_time_and_not_much_later() {
        assert!(!told(WAIT_TIME).await);
        assert!(told(WAIT_TIME + LOOK + LOOK).await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_not_waited_for_while_it_has_a_request() {
        let patience = Arc::new(Patience::new());
        let looks = patience.clone();
        tokio::spawn(async move { looks.look().await });
        let waiting = patience.wait();
        waiting.end();
        sleep(10 * WAIT_TIME).await;
        waiting.begin();
        assert!(timeout(WAIT_TIME / 2, waiting.over()).await.is_err());
        assert!(timeout(WAIT_TIME, waiting.over()).await.is_ok());
        drop(waiting);
        sleep(2 * LOOK).await;
        assert!(patience.all.lock().unwrap().is_empty(), "who is gone is forgotten");
    }
}
