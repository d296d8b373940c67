//! Slows a caller down that is refused again and again.
//!
//! A refusal costs processor time. A caller that retries at once would take it from the picks of others.
//! So a connection whose caller was refused often is neither read nor closed for a while; the more
//! refusals, the longer. Its answers are still sent, and the caller's other connections are served as
//! before.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep_until},
};

use super::rate_limit::RateLimit;
use crate::{
    identity::Identity,
    quota::{Exhausted, Quota},
};

/// Refusals of one caller without a delay.
const FREE: u32 = 100;
/// The time between further refusals. Accepting and refusing a connection takes some 0.3 ms, so that
/// this is 6% of a core.
const APART: Duration = Duration::from_millis(5);
/// The longest delay of a connection. With it, all connections that one caller may have, each with as
/// many refused requests as come in one piece, take a tenth of a core.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(in crate::serve) struct Tarpit {
    rate_limit: RateLimit,
    /// Refused connections that wait to be closed.
    kept: Arc<Quota<Identity>>,
}

impl Tarpit {
    /// `connections`: the most refused connections that may wait.
    pub(in crate::serve) fn new(connections: usize) -> Arc<Self> {
        let kept = Quota::new("refused connections", connections);
        Arc::new(Self { rate_limit: RateLimit::new(FREE, APART, LONGEST), kept })
    }

    /// Notes a refusal of this caller. Returns until when it has to wait, if it has to.
    pub(in crate::serve) fn refused(&self, caller: Identity) -> Option<Instant> {
        self.rate_limit.refused(caller)
    }

    /// The same for an exhausted quota. A caller that holds little of it is not to blame, and never waits.
    pub(in crate::serve) fn short(
        &self,
        caller: Identity,
        exhausted: &Exhausted,
    ) -> Option<Instant> {
        exhausted.holds_much().then(|| self.refused(caller)).flatten()
    }

    /// Closes a refused connection, at once or after its caller's delay. Returns until when that lasts.
    pub(in crate::serve) fn close(
        &self,
        caller: Identity,
        exhausted: &Exhausted,
        stream: UnixStream,
    ) -> Option<Instant> {
        let until = self.short(caller, exhausted)?;
        if let Ok(permit) = self.kept.take(caller) {
            tokio::spawn(async move {
                sleep_until(until).await;
                drop((stream, permit));
            });
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Identity = Identity::Uid(1);

    #[tokio::test(start_paused = true)]
    async fn refused_connections_wait_as_long_as_there_is_room_for_them() {
        let tarpit = Tarpit::new(4);
        let connections = Quota::new("connections", 1);
        let _all = connections.take(CALLER).unwrap();
        let exhausted = connections.take(CALLER).unwrap_err();
        let mut others = Vec::new();
        for n in 0..FREE + 10 {
            let (stream, other) = UnixStream::pair().unwrap();
            others.push(other);
            assert_eq!(tarpit.close(CALLER, &exhausted, stream).is_some(), n >= FREE);
        }
        assert_eq!(tarpit.kept.in_use(), 3, "three quarters are for one caller");
        tokio::time::sleep(2 * LONGEST).await;
        assert_eq!(tarpit.kept.in_use(), 0, "they are closed");
    }
}
