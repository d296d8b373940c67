//! Limits how many requests to the API server run at a time. Those for which a caller waits go
//! first.
//!
//! An agent that starts follows what it served before, which may be hundreds of services. Meanwhile
//! its node's programs ask for theirs. If all requests ran at once, each answer would come when
//! nearly all are there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// Concurrent requests of an agent, without running watches. Measured beside an API server on the
/// same machine: the last of 300 services arrives as soon with 16 as with 600, and the first in 0.1
/// s instead of 0.2 to 0.6 s. At a distance of 50 ms, 32 allow 640 requests a second. A
/// kube-apiserver queues 300 requests of one agent before it refuses more (`queueLengthLimit` 50,
/// `handSize` 6 of its priority levels). Range 8 to 300.
pub(super) const WIDTH: usize = 32;
/// A request that takes longer goes on without its permit, so that a few hanging ones block nobody.
/// Range 0.1 to 10 s.
const LONGEST: Duration = Duration::from_secs(1);

/// How urgent a request is. Equally urgent ones run in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A caller waits for the answer.
    Waiting,
    /// The last known state serves meanwhile.
    Keeping,
}

/// The queue of one API server's requests; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RequestQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    came: u64,
    waiting: BTreeMap<(Urgency, u64), oneshot::Sender<Permit>>,
}

/// The right to have a request open.
#[derive(Debug)]
struct Permit(Option<RequestQueue>);

impl RequestQueue {
    /// At most `width` requests at a time.
    pub(super) fn new(width: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: width, came: 0, waiting: BTreeMap::new() })))
    }

    /// Runs `work` once there is a permit.
    pub(super) async fn run<T>(&self, urgency: Urgency, work: impl Future<Output = T>) -> T {
        let permit = self.permit(urgency).await;
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(LONGEST, &mut work).await {
            return done;
        }
        drop(permit);
        work.await
    }

    async fn permit(&self, urgency: Urgency) -> Permit {
        let given = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.clone()));
            }
            let (give, given) = oneshot::channel();
            state.came += 1;
            let place = (urgency, state.came);
            state.waiting.insert(place, give);
            given
        };
        // Every waiter gets a permit, since `self` owns the queue.
        given.await.unwrap_or(Permit(None))
    }

    fn pass_on(self) {
        loop {
            let next = {
                let mut state = self.state();
                match state.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // That waiter is gone.
                Err(mut permit) => drop(permit.0.take()),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_before_what_is_kept_and_each_in_the_order_of_coming() {
        let queue = RequestQueue::new(1);
        let first = queue.permit(Urgency::Keeping).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let asked = [
            (Urgency::Keeping, 3),
            (Urgency::Waiting, 1),
            (Urgency::Keeping, 4),
            (Urgency::Waiting, 2),
        ];
        let all: Vec<_> = (asked.into_iter())
            .map(|(urgency, place)| {
                let (queue, order) = (queue.clone(), order.clone());
                async move {
                    queue.run(urgency, async { order.lock().unwrap().push(place) }).await;
                }
            })
            .collect();
        let all = tokio::spawn(futures_util::future::join_all(all));
        tokio::task::yield_now().await;
        drop(first);
        all.await.unwrap();
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
        assert_eq!(queue.state().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_run_at_a_time_and_who_gives_up_takes_no_turn_along() {
        let queue = RequestQueue::new(2);
        let held = [queue.permit(Urgency::Waiting).await, queue.permit(Urgency::Waiting).await];
        let mut given_up = Vec::new();
        for _ in 0..10 {
            let waits = queue.clone();
            given_up.push(tokio::spawn(async move { drop(waits.permit(Urgency::Waiting).await) }));
        }
        let waits = queue.clone();
        let last = tokio::spawn(async move { waits.permit(Urgency::Keeping).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!last.is_finished() && given_up.iter().all(|each| !each.is_finished()));
        given_up.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(held);
        drop(last.await.unwrap());
        assert_eq!(queue.state().free, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_holds_nobody_up_for_long() {
        let queue = RequestQueue::new(1);
        let hangs = queue.clone();
        let hangs = tokio::spawn(async move {
            hangs.run(Urgency::Waiting, std::future::pending::<()>()).await;
        });
        tokio::task::yield_now().await;
        queue.run(Urgency::Keeping, async {}).await;
        assert!(!hangs.is_finished());
        hangs.abort();
    }
}
