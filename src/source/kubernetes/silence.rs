//! For how long nothing was heard of an API server: what it said goes on serving, and is called
//! stale after a while.

use std::time::Duration;

use super::{access::Resource, watch::Heard};
use crate::catalog::last_good::STALE_AFTER;

/// Of the two watches that make up a service.
#[derive(Debug, Default)]
pub(super) struct Silence {
    services: Option<Duration>,
    slices: Option<Duration>,
}

impl Silence {
    /// Something was heard, or that there is nothing to be heard.
    pub(super) fn note<K>(&mut self, of: Resource, heard: &Heard<K>, now: Duration) {
        let since = match of {
            Resource::EndpointSlices => &mut self.slices,
            Resource::Services | Resource::Nodes | Resource::Taints | Resource::Events => {
                &mut self.services
            }
        };
        match heard {
            Heard::Silence(_) => drop(since.get_or_insert(now)),
            _ => *since = None,
        }
    }

    /// It has lasted too long for what was said to be taken for current.
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
        let silent = || Heard::<()>::Silence("away".into());
        let mut silence = Silence::default();
        silence.note(Resource::Services, &silent(), Duration::ZERO);
        silence.note(Resource::Services, &silent(), STALE_AFTER / 2);
        silence.note(Resource::EndpointSlices, &silent(), STALE_AFTER / 2);
        assert!(!silence.is_stale(STALE_AFTER - Duration::from_secs(1)));
        assert!(silence.is_stale(STALE_AFTER));
        silence.note(Resource::Services, &Heard::<()>::Again, STALE_AFTER);
        assert!(!silence.is_stale(STALE_AFTER), "the other one is not silent for long enough");
        assert!(silence.is_stale(STALE_AFTER * 3 / 2));
        silence.note(Resource::EndpointSlices, &Heard::<()>::All(Vec::new()), 2 * STALE_AFTER);
        assert!(!silence.is_stale(9 * STALE_AFTER));
    }
}
