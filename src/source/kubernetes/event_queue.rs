//! Decides when each Event is written.
//!
//! Whoever may annotate a Service decides what is wrong with it and how often that changes, and
//! every agent that follows the Service sees it at the same time. So an agent writes events at a
//! limited rate, a Service has a budget of them, and each event waits for a random time. One agent
//! then writes the event, and the others find it there without all asking at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt;
use tokio::{sync::Notify, time::Instant};

use crate::catalog::ServiceName;

/// The time between two events of an agent. Range 0.1 to 10 s.
const APART: Duration = Duration::from_secs(1);
/// The longest random wait of an event. Of 1,000 agents, 200 a second write it then. A
/// kube-apiserver runs that many mutating requests at a time (`--max-mutating-requests-inflight`),
/// and each takes milliseconds. Range 1 to 60 s.
const SPREAD: Duration = Duration::from_secs(5);
/// The most events of one Service in a row: as many as one change can cause, ten and one for the
/// rest (`policy::problems`). client-go's is 25. Range 1 to 25.
const BURST: u32 = 11;
/// After that, a Service may have one event per this time, as in client-go
/// (`record.EventCorrelator`).
const REFILL: Duration = Duration::from_secs(300);
/// The most events that wait; more are dropped, since the log has them too. Writing all takes about
/// this many times [`APART`].
const WAITING: usize = 64;

/// An event that waits to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PendingEvent {
    pub(super) service: ServiceName,
    /// The Service's uid, by which `kubectl describe` finds the event.
    pub(super) uid: Option<Arc<str>>,
    pub(super) message: String,
    due: Instant,
}

/// The waiting events; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of arrival.
    waiting: Vec<PendingEvent>,
    budgets: Budgets,
    /// The earliest time of the next event.
    free: Option<Instant>,
}

impl Queue {
    /// Adds an event, if its Service has budget left.
    pub(super) fn put(&self, service: &ServiceName, uid: Option<Arc<str>>, message: &str) {
        let now = Instant::now();
        let due = now + rand::rng().random_range(Duration::ZERO..=SPREAD);
        let event =
            PendingEvent { service: service.clone(), uid, message: message.to_owned(), due };
        if self.state().put(event, now) {
            self.0.came.notify_one();
        }
    }

    /// Waits for the next event, and until it may be written.
    pub(super) async fn next(&self) -> PendingEvent {
        loop {
            let at = match self.state().next(Instant::now()) {
                Next::Now(event) => return event,
                Next::At(at) => Some(at),
                Next::Nothing => None,
            };
            let due = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // The new event may be due sooner.
                () = self.0.came.notified() => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Now(PendingEvent),
    At(Instant),
    Nothing,
}

impl State {
    fn put(&mut self, event: PendingEvent, now: Instant) -> bool {
        let pays = self.budgets.pay(&event.service, now);
        if pays {
            self.waiting.push(event);
            if self.waiting.len() > WAITING {
                self.drop_one();
            }
        }
        pays
    }

    /// Drops the newest event of the namespace with the most, so that a namespace with many
    /// Services leaves room for others.
    fn drop_one(&mut self) {
        let mut by_namespace: HashMap<&str, usize> = HashMap::new();
        for event in &self.waiting {
            *by_namespace.entry(&event.service.namespace).or_default() += 1;
        }
        let of = |at: &usize| (by_namespace.get(&*self.waiting[*at].service.namespace), *at);
        if let Some(at) = (0..self.waiting.len()).max_by_key(of) {
            self.waiting.remove(at);
        }
    }

    fn next(&mut self, now: Instant) -> Next {
        let Some((at, due)) =
            self.waiting.iter().map(|event| event.due).enumerate().min_by_key(|(_, due)| *due)
        else {
            return Next::Nothing;
        };
        let may = self.free.map_or(due, |free| due.max(free));
        if may > now {
            return Next::At(may);
        }
        self.free = Some(now + APART);
        Next::Now(self.waiting.remove(at))
    }
}

/// A token bucket for each Service, stored as the time at which it is full again. Full buckets are
/// not stored.
#[derive(Debug, Default)]
struct Budgets(HashMap<ServiceName, Instant>);

impl Budgets {
    fn pay(&mut self, service: &ServiceName, now: Instant) -> bool {
        self.0.retain(|_, until| *until > now);
        let until = self.0.get(service).copied().unwrap_or(now) + REFILL;
        let pays = until <= now + REFILL * BURST;
        if pays {
            self.0.insert(service.clone(), until);
        }
        pays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    /// The events that may be written within this time, and when.
    async fn written(queue: &Queue, within: Duration) -> Vec<(Duration, String)> {
        let begin = Instant::now();
        let mut written = Vec::new();
        while let Ok(event) = tokio::time::timeout_at(begin + within, queue.next()).await {
            written.push((begin.elapsed(), event.service.to_string()));
        }
        written
    }

    fn say(queue: &Queue, service: &str, n: u64) {
        queue.put(&service.parse().unwrap(), None, &format!("mode is \"{n}\""));
    }

    fn of(written: &[(Duration, String)], service: &str) -> Vec<Duration> {
        written.iter().filter(|(_, of)| of == service).map(|(when, _)| *when).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_an_agent_are_a_second_apart_and_none_is_lost() {
        let queue = Queue::default();
        (0..20).for_each(|n| say(&queue, &format!("s{n}.shop"), n));
        let written = written(&queue, HOUR).await;
        assert_eq!(written.len(), 20);
        assert!(written.windows(2).all(|two| two[1].0 - two[0].0 >= APART), "{written:?}");
        assert!(written[19].0 <= SPREAD + APART * 20, "{written:?}");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn agents_that_hear_of_it_at_once_write_it_at_different_times() {
        let mut in_second = [0; SPREAD.as_secs() as usize + 1];
        for _ in 0..100 {
            let queue = Queue::default();
            say(&queue, "cart.shop", 0);
            let all = written(&queue, HOUR).await;
            assert_eq!(all.len(), 1);
            in_second[all[0].0.as_secs() as usize] += 1;
        }
        // Of 100 in each, 20 are expected. 45 would be six standard deviations away.
        assert!(in_second.iter().all(|agents| *agents < 45), "{in_second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_flips_an_annotation_for_hours_has_few_events_and_others_have_theirs() {
        let queue = Queue::default();
        let flips = queue.clone();
        let flips = tokio::spawn(async move {
            for n in 0.. {
                (0..2).for_each(|_| say(&flips, "flips.shop", n % 2));
                tokio::time::sleep(SECOND / 2).await;
            }
        });
        let other = queue.clone();
        tokio::spawn(async move {
            for n in 0..3 {
                tokio::time::sleep(HOUR / 3).await;
                say(&other, "cart.other", n);
            }
        });
        let written = written(&queue, HOUR * 2).await;
        flips.abort();
        let flipped = of(&written, "flips.shop");
        let most = BURST as usize + 2 * 3600 / REFILL.as_secs() as usize;
        assert!((most - 1..=most).contains(&flipped.len()), "{}", flipped.len());
        let others = of(&written, "cart.other");
        assert_eq!(others.len(), 3);
        for (n, when) in others.iter().enumerate() {
            let said = HOUR / 3 * (n as u32 + 1);
            assert!(*when <= said + SPREAD + APART * 2, "{others:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_many_services_leaves_room_for_others() {
        let queue = Queue::default();
        let flips = queue.clone();
        let flips = tokio::spawn(async move {
            for n in 0.. {
                say(&flips, &format!("s{n}.shop"), 0);
                tokio::time::sleep(SECOND / 10).await;
            }
        });
        tokio::time::sleep(HOUR / 100).await;
        say(&queue, "cart.other", 0);
        let written = written(&queue, SPREAD + APART * (WAITING as u32 + 1)).await;
        flips.abort();
        assert_eq!(of(&written, "cart.other").len(), 1, "{}", written.len());
    }

    #[tokio::test(start_paused = true)]
    async fn budgets_that_are_full_again_take_no_memory() {
        let queue = Queue::default();
        (0..10).for_each(|n| say(&queue, &format!("s{n}.shop"), n));
        tokio::time::sleep(REFILL).await;
        say(&queue, "cart.shop", 0);
        assert_eq!(queue.state().budgets.0.len(), 1);
    }
}
