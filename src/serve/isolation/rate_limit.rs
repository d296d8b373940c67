//! A rate limit for each caller's refusals.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::identity::Identity;

/// Lets a burst of refusals pass, and spaces further ones.
#[derive(Debug)]
pub(in crate::serve) struct RateLimit {
    free: u32,
    apart: Duration,
    longest: Duration,
    /// For each caller, when its refusals so far are used up.
    paid: Mutex<BTreeMap<Identity, Instant>>,
}

impl RateLimit {
    /// `free`: the burst without a delay, which an honest caller may have. Further refusals are `apart`, and
    /// none waits longer than `longest`.
    pub(in crate::serve) fn new(free: u32, apart: Duration, longest: Duration) -> Self {
        Self { free, apart, longest, paid: Mutex::default() }
    }

    /// Notes a refusal of this caller. Returns until when it has to wait, if it has to.
    pub(in crate::serve) fn refused(&self, caller: Identity) -> Option<Instant> {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if !paid.contains_key(&caller) {
            paid.retain(|_, paid| *paid > now);
        }
        let burst = self.free * self.apart;
        let since = paid.entry(caller).or_insert(now);
        *since = ((*since).max(now) + self.apart).min(now + burst + self.longest);
        (*since > now + burst).then(|| *since - burst)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const CALLER: Identity = Identity::Uid(1);
    const ANOTHER: Identity = Identity::Uid(2);
    const APART: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(10);

    fn rate_limit() -> RateLimit {
        RateLimit::new(100, APART, LONGEST)
    }

    fn waits(rate_limit: &RateLimit, caller: Identity) -> Duration {
        rate_limit.refused(caller).map_or(Duration::ZERO, |until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_often_waits_the_longer_and_another_does_not() {
        let rate_limit = rate_limit();
        for _ in 0..100 {
            assert_eq!(waits(&rate_limit, CALLER), Duration::ZERO);
        }
        for n in 1..=500 {
            assert_eq!(waits(&rate_limit, CALLER), n * APART);
        }
        assert_eq!(waits(&rate_limit, ANOTHER), Duration::ZERO);
        for _ in 0..100_000 {
            assert!(waits(&rate_limit, CALLER) <= LONGEST);
        }
        assert_eq!(waits(&rate_limit, CALLER), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_seldom_never_waits_and_is_forgotten() {
        let rate_limit = rate_limit();
        for _ in 0..1000 {
            assert_eq!(waits(&rate_limit, CALLER), Duration::ZERO);
            advance(APART).await;
        }
        advance(100 * APART).await;
        waits(&rate_limit, ANOTHER);
        assert_eq!(rate_limit.paid.lock().unwrap().len(), 1);
    }
}
