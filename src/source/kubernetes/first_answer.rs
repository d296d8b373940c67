//! How long to wait for the first answer on a new connection.
//!
//! An API server whose etcd hangs accepts connections and answers pings, but leaves requests open
//! until its own timeout, a minute. Behind a load balancer it may stand beside others that answer.
//! So the one connection that tries first holds the others back for [`ANSWER`] only. A connection
//! without any answer is given up with all its requests, so that the next one may reach another
//! server.
//!
//! A slow first answer may still be valid: a busy API server queues a request for 15 s before it
//! answers 429, and the list of a large cluster takes time. If every connection had the same
//! timeout, such a request would never be answered. So the timeout doubles with each connection
//! that is given up, to more than the API server takes for any request; and an answer that comes
//! while others try counts.

use std::{fmt, time::Duration};

use tokio::{
    sync::SetOnce,
    time::{Instant, timeout_at},
};

use super::reachability::Attempt;

/// For this long no other connection tries, and a first connection may stay without an answer. As
/// long as connecting may take (`connection::CONNECT`). Range 1 to 60 s.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest timeout, after connections without an answer. A kube-apiserver ends requests after
/// 60 s (`--request-timeout`), so a working one has answered by then. Range 60 to 300 s.
const LONGEST: Duration = Duration::from_secs(80);

/// The timeout of the next connection's first answer.
#[derive(Debug, Default)]
pub(super) struct AnswerTimeout {
    /// Connections without an answer, since the last one with an answer.
    given_up: u32,
}

impl AnswerTimeout {
    pub(super) fn longest(&self) -> Duration {
        ANSWER.saturating_mul(2_u32.saturating_pow(self.given_up)).min(LONGEST)
    }

    /// Adapts to the outcome of the previous connection.
    pub(super) fn learn(&mut self, before: &FirstAnswer) {
        if before.came.initialized() {
            self.given_up = 0;
        } else if before.is_overdue() {
            self.given_up = self.given_up.saturating_add(1);
        }
    }
}

/// Whether a connection had an answer.
#[derive(Debug)]
pub(super) struct FirstAnswer {
    since: Instant,
    /// None: no timeout.
    longest: Option<Duration>,
    came: SetOnce<()>,
}

/// The error of a connection without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAnswer(Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = humantime::format_duration(self.0);
        write!(f, "the API server took a connection and did not answer within {within}")
    }
}

impl std::error::Error for NoAnswer {}

impl FirstAnswer {
    /// Starts waiting now.
    pub(super) fn new(longest: Option<Duration>) -> Self {
        Self { since: Instant::now(), longest, came: SetOnce::new() }
    }

    pub(super) fn came(&self) {
        // Only the first answer counts.
        self.came.set(()).ok();
    }

    /// Whether the connection is given up.
    pub(super) fn is_overdue(&self) -> bool {
        let waited = self.since.elapsed();
        !self.came.initialized() && self.longest.is_some_and(|longest| waited >= longest)
    }

    /// Completes when the connection is given up; never, if there is an answer. An attempt that
    /// tries alone fails earlier, so that others may try.
    pub(super) async fn given_up(&self, attempt: &mut Option<Attempt>) -> NoAnswer {
        // The caller keeps the attempt until then: a request that fails sooner fails it with its
        // own error.
        if attempt.as_ref().is_some_and(Attempt::is_alone)
            && let Err(none) = self.within(ANSWER).await
            && let Some(alone) = attempt.take()
        {
            alone.failed(&none.to_string());
        }
        if let Some(longest) = self.longest
            && let Err(none) = self.within(longest).await
        {
            return none;
        }
        std::future::pending().await
    }

    async fn within(&self, time: Duration) -> Result<(), NoAnswer> {
        let came = timeout_at(self.since + time, self.came.wait()).await;
        came.map(drop).map_err(|_| NoAnswer(time))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::kubernetes::reachability::Reachability;

    /// Sends a request over a new connection. Returns the result.
    fn ask(reachability: &Reachability, attempt: Attempt, longest: Duration) -> PendingRequest {
        let first = Arc::new(FirstAnswer::new(Some(longest)));
        let (epoch, waits) = (attempt.epoch(), first.clone());
        let outcome = tokio::spawn(async move { waits.given_up(&mut Some(attempt)).await });
        PendingRequest { reachability: reachability.clone(), first, epoch, outcome }
    }

    struct PendingRequest {
        reachability: Reachability,
        first: Arc<FirstAnswer>,
        epoch: u64,
        outcome: tokio::task::JoinHandle<NoAnswer>,
    }

    impl PendingRequest {
        fn answer(&self) {
            self.first.came();
            self.reachability.answered(self.epoch);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_an_attempt_fails_with_the_time_and_the_next_waits_for_longer() {
        let reachability = Reachability::default();
        let begin = Instant::now();
        let mut tried = Vec::new();
        while tried.len() < 5 {
            reachability.ready().await;
            tried.push(begin.elapsed());
            let asked = ask(&reachability, reachability.attempt().await.unwrap(), ANSWER);
            let why = reachability.attempt().await.expect_err("it is too early to try again");
            assert_eq!(&*why, "the API server took a connection and did not answer within 10s");
            assert_eq!(asked.outcome.await.unwrap().to_string(), *why);
            assert!(asked.first.is_overdue());
        }
        // 125 to 250 ms at first, then twice as long each time.
        let between: Vec<_> = tried.windows(2).map(|two| two[1] - two[0] - ANSWER).collect();
        assert!(between[0] < Duration::from_millis(252), "{between:?}");
        assert!(between[3] >= Duration::from_millis(1000), "{between:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_while_another_tries_counts() {
        let reachability = Reachability::default();
        let slow = ask(&reachability, reachability.attempt().await.unwrap(), 4 * ANSWER);
        tokio::time::sleep(ANSWER).await;
        reachability.ready().await;
        let other = reachability.attempt().await.unwrap();
        assert!(other.is_alone(), "it is waited for alone no longer");
        slow.answer();
        assert!(!reachability.is_down());
        other.failed("refused");
        assert!(!reachability.is_down(), "the other came too late");
        tokio::time::sleep(10 * ANSWER).await;
        assert!(!slow.outcome.is_finished() && !slow.first.is_overdue());
    }

    #[tokio::test(start_paused = true)]
    async fn with_one_answer_on_it_a_connection_is_kept_however_long_another_takes() {
        let reachability = Reachability::default();
        let asked = ask(&reachability, reachability.attempt().await.unwrap(), ANSWER);
        tokio::time::sleep(ANSWER / 2).await;
        asked.answer();
        tokio::time::sleep(10 * ANSWER).await;
        assert!(!asked.outcome.is_finished());
        assert!(!reachability.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn where_others_are_answered_a_connection_that_is_not_brings_nobody_down() {
        let reachability = Reachability::default();
        reachability.answered(reachability.attempt().await.unwrap().epoch());
        let asked = ask(&reachability, reachability.attempt().await.unwrap(), ANSWER);
        assert_eq!(asked.outcome.await.unwrap(), NoAnswer(ANSWER));
        assert!(!reachability.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_waits_for_longer_each_time_up_to_more_than_an_api_server_takes() {
        let mut answer_timeout = AnswerTimeout::default();
        let mut waited = Vec::new();
        for _ in 0..6 {
            let first = FirstAnswer::new(Some(answer_timeout.longest()));
            answer_timeout.learn(&first);
            waited.push(answer_timeout.longest().as_secs());
            first.given_up(&mut None).await;
            answer_timeout.learn(&first);
        }
        assert_eq!(waited, [10, 20, 40, 80, 80, 80]);
        let first = FirstAnswer::new(Some(answer_timeout.longest()));
        first.came();
        answer_timeout.learn(&first);
        assert_eq!(answer_timeout.longest(), ANSWER);
    }
}
