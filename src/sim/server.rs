//! An endpoint: so many workers, one queue, first come first served.

use std::collections::VecDeque;

use super::queue::Nanos;

/// What an endpoint is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Where it runs, by the index of the zone.
    pub zone: usize,
    /// What its source says of its capacity; the server itself does not heed it.
    pub weight: u32,
    /// How many requests it works on at a time; not 0.
    pub workers: usize,
    /// How long a request of average work takes it.
    pub service: Nanos,
}

impl Backend {
    /// Requests per second that it can just serve.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 * 1e9 / self.service as f64
    }
}

/// A request as the simulator keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub(super) u32);

/// An endpoint at work.
pub struct Server {
    free: usize,
    waiting: VecDeque<RequestId>,
    in_flight: u32,
}

impl Server {
    /// Idle.
    pub fn new(backend: &Backend) -> Self {
        assert!(backend.workers > 0, "a server without workers never answers");
        Self { free: backend.workers, waiting: VecDeque::new(), in_flight: 0 }
    }

    /// How many requests it has, at work and waiting.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Takes a request; true if a worker begins with it at once.
    pub(super) fn take(&mut self, request: RequestId) -> bool {
        self.in_flight += 1;
        if self.free > 0 {
            self.free -= 1;
            true
        } else {
            self.waiting.push_back(request);
            false
        }
    }

    /// A worker is done; it begins with the request given back, if one waits.
    pub(super) fn done(&mut self) -> Option<RequestId> {
        self.in_flight -= 1;
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.free += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_a_worker_in_the_order_they_came() {
        let mut server = Server::new(&Backend { zone: 0, weight: 1, workers: 2, service: 1 });
        let taken: Vec<bool> = (0..4).map(|i| server.take(RequestId(i))).collect();
        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(server.in_flight(), 4);
        assert_eq!(server.done(), Some(RequestId(2)));
        assert_eq!(server.done(), Some(RequestId(3)));
        assert_eq!(server.done(), None);
        assert_eq!(server.in_flight(), 1);
        assert!(server.take(RequestId(4)), "the worker that found nothing is free again");
    }
}
