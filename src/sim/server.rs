//! An endpoint: several workers and one queue, first come, first served.

use std::collections::VecDeque;

use super::queue::Nanos;

/// The description of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The index of its zone.
    pub zone: usize,
    /// The weight from its source. The server itself does not use it.
    pub weight: u32,
    /// How many requests it works on at the same time. Not 0.
    pub workers: usize,
    /// How long a request of average work takes.
    pub service: Nanos,
}

impl Backend {
    /// The most requests per second that it can serve.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 * 1e9 / self.service as f64
    }
}

/// The simulator's id of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub(super) u32);

/// The state of an endpoint.
pub struct Server {
    free: usize,
    waiting: VecDeque<RequestId>,
    in_flight: u32,
}

impl Server {
    /// An idle server.
    pub fn new(backend: &Backend) -> Self {
        assert!(backend.workers > 0, "a server without workers never answers");
        Self { free: backend.workers, waiting: VecDeque::new(), in_flight: 0 }
    }

    /// How many requests it has, in work and waiting.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Takes a request. Returns true if a worker begins with it at once.
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

    /// A worker has finished. Returns the waiting request that the worker begins next, if any.
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
