//! Decides where a request goes: the interface, and the simplest rivals.

use super::{
    queue::Nanos,
    rng::{Purpose, RandomStream},
    server::Server,
};

/// Decides where requests go, and learns how they end.
pub trait Chooser {
    /// What the chooser needs to know about a request at its end.
    type Ticket: Copy;

    /// Picks the endpoint for a request of `caller` at `now`. `servers` is the exact state. Only rivals
    /// that are defined by exact counts may use it.
    fn choose(
        &mut self,
        caller: usize,
        servers: &[Server],
        now: Nanos,
    ) -> Option<(usize, Self::Ticket)>;

    /// A request ended, `latency` after it was sent.
    fn ended(&mut self, caller: usize, ticket: Self::Ticket, latency: Nanos, now: Nanos);

    /// When each of its timers fires first.
    fn timers(&self) -> Vec<Nanos> {
        Vec::new()
    }

    /// A timer fired. Returns when it fires next.
    fn tick(&mut self, _timer: usize, now: Nanos) -> Nanos {
        unreachable!("a timer at {now} of a chooser that has none")
    }
}

/// Chooses a random endpoint, whatever its load.
pub struct Random {
    draws: RandomStream,
    endpoints: usize,
}

impl Random {
    /// A choice among this many endpoints.
    pub fn new(endpoints: usize, seed: u64) -> Self {
        Self { draws: RandomStream::new(seed, Purpose::Choice), endpoints }
    }
}

impl Chooser for Random {
    type Ticket = ();

    fn choose(&mut self, _: usize, _: &[Server], _: Nanos) -> Option<(usize, ())> {
        Some((self.draws.below(self.endpoints), ()))
    }

    fn ended(&mut self, _: usize, _: (), _: Nanos, _: Nanos) {}
}

/// Chooses the less loaded of two, by the exact counts at that instant. This is the best that two
/// choices can do. A real system cannot reach it, because load information takes time to travel.
pub struct Exact {
    draws: RandomStream,
}

impl Exact {
    /// A choice among all endpoints, of which there must be at least two.
    pub fn new(seed: u64) -> Self {
        Self { draws: RandomStream::new(seed, Purpose::Choice) }
    }
}

impl Chooser for Exact {
    type Ticket = ();

    fn choose(&mut self, _: usize, servers: &[Server], _: Nanos) -> Option<(usize, ())> {
        let first = self.draws.below(servers.len());
        let step = 1 + self.draws.below(servers.len() - 1);
        let second = (first + step) % servers.len();
        let less = servers[second].in_flight() < servers[first].in_flight();
        Some((if less { second } else { first }, ()))
    }

    fn ended(&mut self, _: usize, _: (), _: Nanos, _: Nanos) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::server::{Backend, RequestId};

    #[test]
    fn exact_two_choices_never_take_the_busier_of_two() {
        let backend = Backend { zone: 0, weight: 1, workers: 1, service: 1 };
        let mut servers = [Server::new(&backend), Server::new(&backend)];
        servers[0].take(RequestId(0));
        let mut exact = Exact::new(1);
        assert!((0..100).all(|_| exact.choose(0, &servers, 0) == Some((1, ()))));
    }

    #[test]
    fn random_spreads_evenly() {
        let mut random = Random::new(4, 1);
        let mut count = [0; 4];
        for _ in 0..40_000 {
            count[random.choose(0, &[], 0).unwrap().0] += 1;
        }
        assert!(count.iter().all(|n| (9_500..10_500).contains(n)), "{count:?}");
    }
}
