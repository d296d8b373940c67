//! Whoever is refused again and again waits.
//!
//! To refuse costs processor time, and a caller that tries again at once would take all there is of it
//! from the others' picks. So a connection whose caller was refused often is neither read nor closed
//! for a while, the longer the more often. What it was answered goes out all the same, and its caller's
//! other connections are served as before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep_until},
};

use crate::{identity::Identity, quota::Quota};

/// Refusals of one caller that cost it no time: a burst, which an honest caller may have.
const FREE: u32 = 100;
/// How far apart further ones are. To accept a connection and to refuse it takes some 0.3 ms, which is
/// 6% of a core then.
const APART: Duration = Duration::from_millis(5);
/// The longest that a connection waits. As many as one caller may have, with as many refused requests on
/// each as come in one piece, take a tenth of a core then.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the callers wait that are refused.
#[derive(Debug)]
pub(super) struct Tarpit {
    /// When each caller's refusals will be paid for.
    paid: Mutex<BTreeMap<Identity, Instant>>,
    /// Connections that were refused and wait to be closed.
    kept: Arc<Quota<Identity>>,
}

impl Tarpit {
    /// Nobody waits. So many of the connections that are refused may.
    pub(super) fn new(connections: usize) -> Arc<Self> {
        let kept = Quota::new("refused connections", connections);
        Arc::new(Self { paid: Mutex::default(), kept })
    }

    /// One more refusal of this caller; until when what was refused is to wait, if it is.
    pub(super) fn refused(&self, caller: Identity) -> Option<Instant> {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if !paid.contains_key(&caller) {
            paid.retain(|_, paid| *paid > now);
        }
        let since = paid.entry(caller).or_insert(now);
        let free = now + FREE * APART;
        *since = ((*since).max(now) + APART).min(free + LONGEST);
        (*since > free).then(|| *since - FREE * APART)
    }

    /// Closes a connection that there is no share for: at once, or when its caller has waited. Whether at
    /// once.
    pub(super) fn close(&self, caller: Identity, stream: UnixStream) -> bool {
        let Some(until) = self.refused(caller) else { return true };
        let Ok(permit) = self.kept.take(caller) else { return true };
        tokio::spawn(async move {
            sleep_until(until).await;
            drop((stream, permit));
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const CALLER: Identity = Identity::Uid(1);
    const ANOTHER: Identity = Identity::Uid(2);

    fn waits(tarpit: &Tarpit, caller: Identity) -> Duration {
        tarpit.refused(caller).map_or(Duration::ZERO, |until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_often_waits_the_longer_and_another_does_not() {
        let tarpit = Tarpit::new(1);
        for _ in 0..FREE {
            assert_eq!(waits(&tarpit, CALLER), Duration::ZERO);
        }
        for n in 1..=500 {
            assert_eq!(waits(&tarpit, CALLER), n * APART);
        }
        assert_eq!(waits(&tarpit, ANOTHER), Duration::ZERO);
        for _ in 0..100_000 {
            assert!(waits(&tarpit, CALLER) <= LONGEST);
        }
        assert_eq!(waits(&tarpit, CALLER), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_seldom_never_waits_and_is_forgotten() {
        let tarpit = Tarpit::new(1);
        for _ in 0..10 * FREE {
            assert_eq!(waits(&tarpit, CALLER), Duration::ZERO);
            advance(APART).await;
        }
        advance(FREE * APART).await;
        waits(&tarpit, ANOTHER);
        assert_eq!(tarpit.paid.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_connections_wait_as_long_as_there_is_room_for_them() {
        let tarpit = Tarpit::new(4);
        let (mut kept, mut closed) = (0, 0);
        let mut others = Vec::new();
        for _ in 0..FREE + 10 {
            let (stream, other) = UnixStream::pair().unwrap();
            others.push(other);
            match tarpit.close(CALLER, stream) {
                true => closed += 1,
                false => kept += 1,
            }
        }
        assert_eq!((kept, closed), (3, FREE + 7), "three quarters are for one caller");
        assert_eq!(tarpit.kept.in_use(), 3);
        tokio::time::sleep(2 * LONGEST).await;
        assert_eq!(tarpit.kept.in_use(), 0, "they are closed");
    }
}
