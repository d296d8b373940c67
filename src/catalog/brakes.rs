//! The brakes of all services. What they hold together is kept up to date, so that a change of one
//! service costs the same however many others have a brake.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{
    brake::{Brake, WINDOW},
    model::Service,
    name::ServiceName,
};

/// The services that lost endpoints lately, each with its brake.
#[derive(Debug, Default)]
pub(super) struct Brakes {
    by_service: HashMap<ServiceName, OwnedBrake>,
    /// The endpoints that they hold.
    held: usize,
    /// When the next hold of each service ends.
    deadlines: BTreeSet<(Duration, ServiceName)>,
    /// When a service lost endpoints, the oldest first: what is not held is forgotten after [`WINDOW`].
    observed: VecDeque<(Duration, ServiceName)>,
}

#[derive(Debug)]
struct OwnedBrake {
    /// Endpoints of another source are not comparable.
    source: usize,
    brake: Brake,
}

impl Brakes {
    /// Records what an update of a source removes. Returns true if the brake takes hold.
    pub(super) fn observe(
        &mut self,
        source: usize,
        before: &Service,
        after: &Service,
        now: Duration,
    ) -> bool {
        self.forget_removals(now);
        let name = &after.name;
        let new = || OwnedBrake { source, brake: Brake::default() };
        self.by_service.entry(name.clone()).or_insert_with(new);
        let triggered = self.change(name, |brake| brake.observe(before, after, now));
        if self.by_service.contains_key(name) {
            self.observed.push_back((now, name.clone()));
        }
        triggered == Some(true)
    }

    /// Adds the held endpoints to a service, which has only its eligible ones.
    pub(super) fn hold(&self, service: Service) -> Service {
        match self.by_service.get(&service.name) {
            Some(owned) => owned.brake.hold(service),
            None => service,
        }
    }

    /// Forgets what it knows of a service.
    pub(super) fn release(&mut self, name: &ServiceName) {
        self.change(name, |brake| *brake = Brake::default());
    }

    /// Forgets what another source than this told of a service.
    pub(super) fn release_of_others(&mut self, name: &ServiceName, source: usize) {
        if self.by_service.get(name).is_some_and(|owned| owned.source != source) {
            self.release(name);
        }
    }

    /// Ends the holds that are over. Returns the services that had one.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<ServiceName> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let mut over: Vec<ServiceName> = due.map(|(_, name)| name.clone()).collect();
        over.retain(|name| self.change(name, |brake| brake.tick(now)) == Some(true));
        over
    }

    /// A connection to this endpoint failed, so it is gone. Returns true if it was held.
    pub(super) fn connection_failed(&mut self, name: &ServiceName, address: SocketAddr) -> bool {
        self.change(name, |brake| brake.connection_failed(address)) == Some(true)
    }

    /// The number of endpoints that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// When the next hold ends.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Changes the brake of a service, if it has one.
    fn change<T>(&mut self, name: &ServiceName, change: impl FnOnce(&mut Brake) -> T) -> Option<T> {
        let brake = &mut self.by_service.get_mut(name)?.brake;
        let (held, deadline) = (brake.held(), brake.deadline());
        let result = change(brake);
        self.held = self.held - held + brake.held();
        if brake.deadline() != deadline {
            if let Some(before) = deadline {
                self.deadlines.remove(&(before, name.clone()));
            }
            self.deadlines.extend(brake.deadline().map(|at| (at, name.clone())));
        }
        if brake.is_empty() {
            self.by_service.remove(name);
        }
        Some(result)
    }

    /// Services that lost endpoints long ago and lose no more must not keep them.
    fn forget_removals(&mut self, now: Duration) {
        let is_over = |(at, _): &(Duration, ServiceName)| now.saturating_sub(*at) > WINDOW;
        while self.observed.front().is_some_and(is_over)
            && let Some((_, name)) = self.observed.pop_front()
        {
            self.change(&name, |brake| brake.forget_removals(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{
        brake::HOLD,
        sample::{endpoint, service},
    };

    const NOW: Duration = Duration::from_secs(100);

    fn loses(brakes: &mut Brakes, name: &str, endpoints: u8, now: Duration) {
        let before = service(name, (1..=4).map(endpoint));
        let after = service(name, (endpoints + 1..=4).map(endpoint));
        brakes.observe(0, &before, &after, now);
    }

    #[test]
    fn what_all_hold_is_the_sum_and_the_first_end_comes_first() {
        let mut brakes = Brakes::default();
        assert_eq!((brakes.held(), brakes.deadline()), (0, None));
        loses(&mut brakes, "cart.shop", 4, NOW);
        loses(&mut brakes, "users.shop", 3, NOW + Duration::from_secs(5));
        assert_eq!((brakes.held(), brakes.deadline()), (7, Some(NOW + HOLD)));
        let cart = "cart.shop".parse().unwrap();
        assert!(brakes.connection_failed(&cart, endpoint(1).address));
        assert!(!brakes.connection_failed(&cart, endpoint(1).address));
        assert_eq!(brakes.held(), 6);
        assert!(brakes.tick(NOW).is_empty());
        assert_eq!(brakes.tick(NOW + HOLD), [cart]);
        assert_eq!(
            (brakes.held(), brakes.deadline()),
            (3, Some(NOW + HOLD + Duration::from_secs(5)))
        );
        brakes.release_of_others(&"users.shop".parse().unwrap(), 0);
        assert_eq!(brakes.held(), 3);
        brakes.release_of_others(&"users.shop".parse().unwrap(), 1);
        assert_eq!((brakes.held(), brakes.deadline()), (0, None));
        assert!(brakes.by_service.is_empty());
    }

    #[test]
    fn a_removal_that_holds_nothing_is_forgotten_when_another_service_changes_later() {
        let mut brakes = Brakes::default();
        loses(&mut brakes, "cart.shop", 1, NOW);
        loses(&mut brakes, "users.shop", 4, NOW);
        assert_eq!(brakes.by_service.len(), 2);
        loses(&mut brakes, "pay.shop", 0, NOW + WINDOW * 2);
        let left: Vec<String> = brakes.by_service.keys().map(ToString::to_string).collect();
        assert_eq!(left, ["users.shop"], "which is held");
        assert!(brakes.observed.is_empty());
    }
}
