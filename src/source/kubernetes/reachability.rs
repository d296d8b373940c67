//! Whether the API server is reachable, and when to connect again: one state for all of an agent's
//! connections.
//!
//! An outage ends all connections at once, on every node of the cluster. If each watch reconnected
//! by itself, a node would shake hands hundreds of times, and a thousand nodes would overload a
//! server that has just come up. So one connection tries, after a wait that grows with every
//! failure. The others follow once the API server has answered on it; `first_answer` limits how
//! long they wait for that.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use crate::source::backoff::Backoff;

/// Whether an API server is reachable; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reachability(Arc<watch::Sender<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts losses. News of connections from an earlier epoch are ignored.
    epoch: u64,
    backoff: Backoff,
    why: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    /// No connection tries before this time.
    Down(Instant),
    /// One connection tries.
    Trying,
}

impl State {
    fn fail(&mut self, why: &str) {
        self.phase = Phase::Down(Instant::now() + self.backoff.failed());
        self.why = why.into();
    }
}

impl Default for Reachability {
    /// Not reached yet; may be tried at once.
    fn default() -> Self {
        let phase = Phase::Down(Instant::now());
        let why = "not connected yet".into();
        Self(Arc::new(watch::Sender::new(State {
            phase,
            epoch: 0,
            backoff: Backoff::default(),
            why,
        })))
    }
}

/// The permission to connect. When it is dropped, others may try.
#[derive(Debug)]
pub(super) struct Attempt {
    reachability: Reachability,
    epoch: u64,
    /// No other connection tries meanwhile.
    alone: bool,
}

impl Reachability {
    /// Waits while another connection tries.
    ///
    /// # Errors
    /// It is too early to try again; returns the last error.
    pub(super) async fn attempt(&self) -> Result<Attempt, Arc<str>> {
        let mut states = self.0.subscribe();
        loop {
            let mut outcome = None;
            self.0.send_if_modified(|state| {
                let attempt =
                    |alone| Attempt { reachability: self.clone(), epoch: state.epoch, alone };
                match state.phase {
                    Phase::Up => outcome = Some(Ok(attempt(false))),
                    Phase::Down(until) if until > Instant::now() => {
                        outcome = Some(Err(state.why.clone()));
                    }
                    Phase::Down(_) => {
                        outcome = Some(Ok(attempt(true)));
                        state.phase = Phase::Trying;
                    }
                    Phase::Trying => {}
                }
                // Waiters need no wake-up now; they wait for the outcome.
                false
            });
            if let Some(outcome) = outcome {
                return outcome;
            }
            // `self` owns the sender, so this can't fail.
            states.changed().await.ok();
        }
    }

    /// Records an answer on a connection of this epoch. Returns the connection's current epoch.
    pub(super) fn answered(&self, epoch: u64) -> u64 {
        let mut now = epoch;
        self.0.send_if_modified(|state| {
            if state.phase == Phase::Up {
                now = state.epoch;
                return false;
            }
            let reached = state.epoch == epoch;
            if reached {
                state.phase = Phase::Up;
                state.backoff.succeeded();
            }
            reached
        });
        now
    }

    /// Records the end of a connection of this epoch. A stopping API server ends those of all
    /// agents at the same time, as an outage does.
    pub(super) fn lost(&self, epoch: u64) {
        self.fell(epoch, "the connection ended");
    }

    fn fell(&self, epoch: u64, why: &str) {
        self.0.send_if_modified(|state| {
            let falls = state.phase == Phase::Up && state.epoch == epoch;
            if falls {
                state.epoch += 1;
                state.fail(why);
            }
            falls
        });
    }

    /// Whether it is too early to ask again.
    pub(super) fn is_down(&self) -> bool {
        match self.0.borrow().phase {
            Phase::Up => false,
            Phase::Trying => true,
            // If nobody tries, a failure has another reason.
            Phase::Down(until) => until > Instant::now(),
        }
    }

    /// Waits until it makes sense to ask again.
    pub(super) async fn ready(&self) {
        let mut states = self.0.subscribe();
        loop {
            let phase = states.borrow_and_update().phase;
            let until = match phase {
                Phase::Up => return,
                Phase::Trying => None,
                Phase::Down(until) => Some(until),
            };
            let due = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                // The sender is in `self`, so that this can't fail.
                _ = states.changed() => {}
            }
        }
    }
}

impl Attempt {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Others wait for what comes of it.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// There was no connection, or no answer on it.
    pub(super) fn failed(self, why: &str) {
        if !self.alone {
            return self.reachability.fell(self.epoch, why);
        }
        self.reachability.0.send_if_modified(|state| {
            let of_now = state.phase == Phase::Trying && state.epoch == self.epoch;
            if of_now {
                state.fail(why);
            }
            of_now
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.alone {
            self.reachability.0.send_if_modified(|state| {
                let left = state.phase == Phase::Trying && state.epoch == self.epoch;
                if left {
                    state.phase = Phase::Down(Instant::now());
                }
                left
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn up() -> Reachability {
        let reachability = Reachability::default();
        let attempt = reachability.attempt().await.unwrap();
        reachability.answered(attempt.epoch());
        assert!(!reachability.is_down());
        reachability
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_and_the_others_wait_for_what_comes_of_it() {
        let reachability = Reachability::default();
        let first = reachability.attempt().await.unwrap();
        let others: Vec<_> = (0..100)
            .map(|_| {
                let reachability = reachability.clone();
                tokio::spawn(
                    async move { reachability.attempt().await.map(|attempt| attempt.alone) },
                )
            })
            .collect();
        tokio::time::sleep(LONG).await;
        assert!(others.iter().all(|other| !other.is_finished()));
        first.failed("refused");
        for other in others {
            assert_eq!(&*other.await.unwrap().unwrap_err(), "refused", "none tries in its place");
        }
        reachability.ready().await;
        let second = reachability.attempt().await.unwrap();
        assert!(second.alone);
        reachability.answered(second.epoch());
        assert!(
            !reachability.attempt().await.unwrap().alone,
            "it answers: whoever wants to connects"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_of_all_are_as_far_apart_as_the_backoff_says() {
        let reachability = up().await;
        reachability.lost(0);
        let begin = Instant::now();
        let mut tried = Vec::new();
        while begin.elapsed() < LONG {
            let waits: Vec<_> = (0..10).map(|_| reachability.ready()).collect();
            futures_util::future::join_all(waits).await;
            // All ten requests come at once.
            for _ in 0..10 {
                if let Ok(attempt) = reachability.attempt().await {
                    tried.push(begin.elapsed());
                    attempt.failed("refused");
                }
            }
        }
        // 125 to 250 ms at first, then twice as long each time, up to 5 to 10 s.
        assert!((9..=17).contains(&tried.len()), "{tried:?}");
        assert!(tried[0] >= Duration::from_millis(125) && tried[0] <= Duration::from_millis(251));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_connections_that_end_at_once_are_one_loss() {
        let reachability = up().await;
        (0..10).for_each(|_| reachability.lost(0));
        assert!(reachability.is_down());
        reachability.ready().await;
        let attempt = reachability.attempt().await.unwrap();
        let epoch = reachability.answered(attempt.epoch());
        (0..10).for_each(|_| reachability.lost(0));
        assert!(!reachability.is_down(), "these ended before");
        reachability.lost(epoch);
        assert!(reachability.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_before_does_not_count_and_one_who_gives_up_leaves_it_to_others() {
        let reachability = up().await;
        reachability.lost(0);
        reachability.answered(0);
        assert!(reachability.is_down());
        reachability.ready().await;
        let given_up = reachability.attempt().await.unwrap();
        drop(given_up);
        assert!(reachability.attempt().await.unwrap().alone);
    }
}
