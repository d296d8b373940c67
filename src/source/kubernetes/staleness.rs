//! Since when the API server has not been heard. What it told before goes on serving, and is marked
//! stale after a while.

use std::time::Duration;

use super::{api_error::Resource, watch::Update};
use crate::catalog::last_good::STALE_AFTER;

/// Since when each of the two watches is interrupted.
#[derive(Debug, Default)]
pub(super) struct Staleness {
    services: Option<Duration>,
    slices: Option<Duration>,
}

impl Staleness {
    /// Records an update or an interruption.
    pub(super) fn note<K>(&mut self, of: Resource, update: &Update<K>, now: Duration) {
        let since = match of {
            Resource::EndpointSlices => &mut self.slices,
            _ => &mut self.services,
        };
        match update {
            Update::Interrupted(_) | Update::Refused(_) => drop(since.get_or_insert(now)),
            _ => *since = None,
        }
    }

    /// Whether an interruption has lasted too long.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        let longest = self.services.into_iter().chain(self.slices).min();
        longest.is_some_and(|since| now.saturating_sub(since) >= STALE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_stale_when_either_watch_has_heard_nothing_for_too_long() {
        let silent = || Update::<()>::Interrupted("away".into());
        let mut staleness = Staleness::default();
        staleness.note(Resource::Services, &silent(), Duration::ZERO);
        staleness.note(Resource::Services, &silent(), STALE_AFTER / 2);
        staleness.note(Resource::EndpointSlices, &silent(), STALE_AFTER / 2);
        assert!(!staleness.is_stale(STALE_AFTER - Duration::from_secs(1)));
        assert!(staleness.is_stale(STALE_AFTER));
        staleness.note(Resource::Services, &Update::<()>::Resumed, STALE_AFTER);
        assert!(!staleness.is_stale(STALE_AFTER), "the other one is not silent for long enough");
        assert!(staleness.is_stale(STALE_AFTER * 3 / 2));
        staleness.note(
            Resource::EndpointSlices,
            &Update::<()>::Listed(Vec::new()),
            2 * STALE_AFTER,
        );
        assert!(!staleness.is_stale(9 * STALE_AFTER));
    }
}
