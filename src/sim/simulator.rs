//! The simulator: runs a scenario with a chooser, on virtual time.

use super::{
    arrivals::{Arrivals, Poisson},
    chooser::Chooser,
    outcome::{Outcome, Tally},
    queue::{EventQueue, Nanos, nanos},
    rng::{Purpose, RandomStream},
    scenario::{Scenario, Work},
    server::{RequestId, Server},
};

enum Event {
    Arrive,
    Send { caller: usize },
    Done { request: RequestId },
    Tick { timer: usize },
    Sample,
}

/// A request in flight.
#[derive(Clone, Copy)]
struct Request<T> {
    caller: usize,
    endpoint: usize,
    ticket: T,
    sent: Nanos,
    work: f64,
    measured: bool,
}

struct Run<'a, C: Chooser> {
    scenario: &'a Scenario,
    chooser: &'a mut C,
    queue: EventQueue<Event>,
    servers: Vec<Server>,
    /// By the request's id. Ids of ended requests are reused.
    requests: Vec<Request<C::Ticket>>,
    free_ids: Vec<RequestId>,
    work: RandomStream,
    tally: Tally,
    warm: Nanos,
    /// How many measured requests have still to be sent, and to end.
    to_send: usize,
    to_finish: usize,
}

/// Runs a scenario until all measured requests have ended. The load continues until then, so that the
/// last requests meet the same conditions as the first, and slow requests are measured, too.
pub fn run<C: Chooser>(scenario: &Scenario, chooser: &mut C, seed: u64) -> Outcome {
    let mut run = Run {
        servers: scenario.backends.iter().map(Server::new).collect(),
        queue: EventQueue::new(),
        requests: Vec::new(),
        free_ids: Vec::new(),
        work: RandomStream::new(seed, Purpose::Work),
        tally: Tally::new(scenario.backends.len(), scenario.requests),
        warm: nanos(scenario.warm_up),
        to_send: scenario.requests,
        to_finish: scenario.requests,
        scenario,
        chooser,
    };
    run.until_done(seed);
    run.tally.outcome()
}

impl<C: Chooser> Run<'_, C> {
    fn until_done(&mut self, seed: u64) {
        let mut callers = RandomStream::new(seed, Purpose::Callers);
        let mut poisson = None;
        match self.scenario.arrivals {
            Arrivals::Open { rate } => {
                poisson = Some(Poisson::new(rate, seed));
                self.queue.schedule(0, Event::Arrive);
            }
            Arrivals::Closed => {
                for caller in 0..self.scenario.callers.len() {
                    self.queue.schedule(0, Event::Send { caller });
                }
            }
        }
        for (timer, at) in self.chooser.timers().into_iter().enumerate() {
            self.queue.schedule(at, Event::Tick { timer });
        }
        let sample_interval = self.sample_interval();
        self.queue.schedule(self.warm + sample_interval, Event::Sample);

        while self.to_finish > 0 {
            let (now, event) = self.queue.pop().expect("there is always a next arrival");
            match event {
                Event::Arrive => {
                    let gap = poisson.as_mut().expect("arrivals are of an open loop").gap();
                    self.queue.schedule(now + gap, Event::Arrive);
                    let caller = callers.below(self.scenario.callers.len());
                    self.send(caller, now);
                }
                Event::Send { caller } => self.send(caller, now),
                Event::Done { request } => self.done(request, now),
                Event::Tick { timer } => {
                    let next = self.chooser.tick(timer, now);
                    assert!(next > now, "a timer that stands still stops the run");
                    self.queue.schedule(next, Event::Tick { timer });
                }
                Event::Sample => {
                    if self.to_send > 0 {
                        self.tally.sample(&self.servers);
                        self.queue.schedule(now + sample_interval, Event::Sample);
                    }
                }
            }
        }
    }

    /// Short compared with the service time, and not a multiple of the publishers' periods: a sample
    /// right after each publication would show less imbalance than there is.
    fn sample_interval(&self) -> Nanos {
        let shortest = self.scenario.backends.iter().map(|b| b.service).min().unwrap_or(1);
        (shortest as f64 * 0.137_035_999) as Nanos + 1
    }

    fn send(&mut self, caller: usize, now: Nanos) {
        let work = match self.scenario.work {
            Work::Exponential => self.work.exponential(),
            Work::Constant => 1.0,
        };
        let measured = now >= self.warm && self.to_send > 0;
        self.to_send -= usize::from(measured);
        let Some((endpoint, ticket)) = self.chooser.choose(caller, &self.servers, now) else {
            self.tally.refused += 1;
            self.to_finish -= usize::from(measured);
            return;
        };
        if measured {
            let scenario = self.scenario;
            let crosses = scenario.callers[caller].zone != scenario.backends[endpoint].zone;
            self.tally.sent(endpoint, crosses);
        }
        let id = self.store(Request { caller, endpoint, ticket, sent: now, work, measured });
        if self.servers[endpoint].take(id) {
            self.begin_work(id, now);
        }
    }

    fn begin_work(&mut self, id: RequestId, now: Nanos) {
        let request = &self.requests[id.0 as usize];
        let takes = request.work * self.scenario.backends[request.endpoint].service as f64;
        self.queue.schedule(now + takes as Nanos, Event::Done { request: id });
    }

    fn done(&mut self, id: RequestId, now: Nanos) {
        let request = self.requests[id.0 as usize];
        self.free_ids.push(id);
        if let Some(next) = self.servers[request.endpoint].done() {
            self.begin_work(next, now);
        }
        let latency = now - request.sent;
        self.chooser.ended(request.caller, request.ticket, latency, now);
        if request.measured {
            self.tally.took(latency);
            self.to_finish -= 1;
        }
        if self.scenario.arrivals == Arrivals::Closed {
            self.send(request.caller, now);
        }
    }

    fn store(&mut self, request: Request<C::Ticket>) -> RequestId {
        if let Some(id) = self.free_ids.pop() {
            self.requests[id.0 as usize] = request;
            return id;
        }
        self.requests.push(request);
        RequestId(self.requests.len() as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::{
        chooser::{Exact, Random},
        scenario::CallerSpec,
        server::Backend,
    };

    const SERVICE: Nanos = 10_000_000;

    fn scenario(endpoints: usize, workers: usize, load: f64, work: Work) -> Scenario {
        let backend = Backend { zone: 0, weight: 1, workers, service: SERVICE };
        let mut scenario = Scenario {
            backends: vec![backend; endpoints],
            callers: vec![CallerSpec { zone: 0, process: 0 }; 8],
            arrivals: Arrivals::Closed,
            work,
            warm_up: Duration::from_secs(2),
            requests: 100_000,
        };
        scenario.arrivals = Arrivals::Open { rate: load * scenario.capacity() };
        scenario
    }

    #[test]
    fn the_same_seed_gives_the_same_result_to_the_bit() {
        let scenario = scenario(5, 2, 0.8, Work::Exponential);
        let once = run(&scenario, &mut Exact::new(7), 7);
        assert_eq!(once, run(&scenario, &mut Exact::new(7), 7));
        assert_ne!(once, run(&scenario, &mut Exact::new(8), 8));
    }

    /// With one queue, one worker and Poisson arrivals the time in the system is exponential with mean
    /// s / (1 - load), so its median and p99 are known.
    #[test]
    fn a_single_exponential_server_agrees_with_the_formula() {
        let scenario = Scenario { requests: 400_000, ..scenario(1, 1, 0.5, Work::Exponential) };
        let outcome = run(&scenario, &mut Random::new(1, 1), 1);
        let mean = SERVICE as f64 / 0.5;
        let off = |value: Nanos, part: f64| value as f64 / (mean * -(1.0 - part).ln()) - 1.0;
        assert!(off(outcome.p50, 0.5).abs() < 0.02, "{outcome:?}");
        assert!(off(outcome.p99, 0.99).abs() < 0.04, "{outcome:?}");
    }

    #[test]
    fn constant_work_without_a_queue_takes_just_that_work() {
        let outcome = run(&scenario(2, 64, 0.1, Work::Constant), &mut Random::new(2, 1), 1);
        assert_eq!((outcome.p50, outcome.p99), (SERVICE, SERVICE));
    }

    #[test]
    fn two_exact_choices_are_evener_and_faster_than_random() {
        let scenario = scenario(20, 4, 0.8, Work::Exponential);
        let random = run(&scenario, &mut Random::new(20, 1), 1);
        let exact = run(&scenario, &mut Exact::new(1), 1);
        assert!(exact.max_over_mean < 0.7 * random.max_over_mean, "{exact:?} {random:?}");
        assert!((exact.p99 as f64) < 0.8 * random.p99 as f64, "{exact:?} {random:?}");
    }

    #[test]
    fn a_closed_loop_keeps_every_caller_busy_with_one_request() {
        let scenario = Scenario {
            arrivals: Arrivals::Closed,
            work: Work::Constant,
            requests: 1_000,
            ..scenario(1, 8, 0.8, Work::Constant)
        };
        let outcome = run(&scenario, &mut Random::new(1, 1), 1);
        assert_eq!(outcome.p99, SERVICE, "8 callers never queue for 8 workers");
    }
}
