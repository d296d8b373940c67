//! Whoever is refused again and again waits.
//!
//! To refuse costs processor time, and a caller that tries again at once would take all there is of it
//! from the others' picks. So a connection whose caller was refused often is neither read nor closed
//! for a while, the longer the more often. What it was answered goes out all the same, and its caller's
//! other connections are served as before.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep_until},
};

use super::pace::Pace;
use crate::{
    identity::Identity,
    quota::{Exhausted, Quota},
};

/// Refusals of one caller that cost it no time.
const FREE: u32 = 100;
/// How far apart further ones are. To accept a connection and to refuse it takes some 0.3 ms, which is
/// 6% of a core then.
const APART: Duration = Duration::from_millis(5);
/// The longest that a connection waits. As many as one caller may have, with as many refused requests on
/// each as come in one piece, take a tenth of a core then.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the callers wait that are refused.
#[derive(Debug)]
pub(in crate::serve) struct Tarpit {
    pace: Pace,
    /// Connections that were refused and wait to be closed.
    kept: Arc<Quota<Identity>>,
}

impl Tarpit {
    /// Nobody waits. So many of the connections that are refused may.
    pub(in crate::serve) fn new(connections: usize) -> Arc<Self> {
        let kept = Quota::new("refused connections", connections);
        Arc::new(Self { pace: Pace::new(FREE, APART, LONGEST), kept })
    }

    /// One more refusal of this caller; until when what was refused is to wait, if it is.
    pub(in crate::serve) fn refused(&self, caller: Identity) -> Option<Instant> {
        self.pace.refused(caller)
    }

    /// The same, for want of something. Whoever holds little of that is not to blame, and never waits.
    pub(in crate::serve) fn short(
        &self,
        caller: Identity,
        exhausted: &Exhausted,
    ) -> Option<Instant> {
        exhausted.holds_much().then(|| self.refused(caller)).flatten()
    }

    /// Closes a connection that there is no share for: at once, or when its caller has waited. Until when
    /// it has to.
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
