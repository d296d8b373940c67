//! What is there and what happens to it: zones, back-ends, load, changes.
//!
//! The numbers are chosen so that a choice blind to load can't hide: at 60% of the capacity that
//! there is at the start, the slowest back-end of a zone has 80% of its own when requests are
//! spread evenly, the one that turns slow then has nearly twice of it, and what is left at the end
//! runs at about 70%.

use std::time::Duration;

use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use serde::{Deserialize, Serialize};

/// How the requests of an arm find their back-ends. All arms get the same arrivals with the same
/// work at the same time, each on a set of back-ends of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arm {
    /// Each caller opens one connection to a random back-end and keeps it, as through a virtual IP.
    Connection,
    /// Each request asks the agent.
    Pick,
    /// Each request goes to a random back-end: what the other two are judged against.
    Random,
}

impl Arm {
    pub(crate) const ALL: [Self; 3] = [Self::Connection, Self::Pick, Self::Random];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connection => "one connection",
            Self::Pick => "a pick per request",
            Self::Random => "random per request",
        }
    }
}

pub(crate) const ZONES: [&str; 3] = ["a", "b", "c"];

/// The service that the agents know.
pub(crate) const SERVICE: &str = "orders.demo";

/// A back-end by its number; the same in each arm.
pub(crate) struct BackEnd {
    pub(crate) name: &'static str,
    /// Index into [`ZONES`].
    pub(crate) zone: usize,
    /// How much faster than one that does [`MEAN_WORK`] in just that time.
    pub(crate) speed: f64,
}

pub(crate) const BACK_ENDS: [BackEnd; 10] = [
    BackEnd { name: "a1", zone: 0, speed: 1.25 },
    BackEnd { name: "a2", zone: 0, speed: 1.0 },
    BackEnd { name: "a3", zone: 0, speed: 0.75 },
    BackEnd { name: "b1", zone: 1, speed: 1.25 },
    BackEnd { name: "b2", zone: 1, speed: 1.0 },
    BackEnd { name: "b3", zone: 1, speed: 0.75 },
    BackEnd { name: "c1", zone: 2, speed: 1.25 },
    BackEnd { name: "c2", zone: 2, speed: 1.0 },
    BackEnd { name: "c3", zone: 2, speed: 0.75 },
    BackEnd { name: "c4", zone: 2, speed: 1.0 },
];

/// The first so many are there from the start.
pub(crate) const AT_START: usize = 9;

/// Requests that a back-end works on at a time; the others wait.
pub(crate) const WORKERS: usize = 4;

/// Mean of the exponential work of a request. Long against the millisecond that timers round to.
pub(crate) const MEAN_WORK: Duration = Duration::from_millis(60);

/// Callers give up then; long against any wait of an even load.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Requests per second of one arm: 60% of what nine back-ends of mean speed 1 can do.
pub(crate) const RATE: f64 = 360.0;

/// Client processes per zone. Each has one connection in the arm that keeps one.
pub(crate) const CALLERS_PER_ZONE: usize = 4;

/// What happens to a back-end while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// It works at [`SLOW`] of its speed.
    Slow(usize),
    /// It answers 500, and at once: by its load it now looks idle.
    Fail(usize),
    /// It joins the service.
    Add(usize),
    /// It leaves the service, and closes its connections in good order a second later.
    Remove(usize),
}

/// What is left of the speed of the one that turns slow.
pub(crate) const SLOW: f64 = 1.0 / 3.0;

/// How long a removed back-end still serves who has not heard of it.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// When each change comes, as a share of the run.
const CHANGES: [(f64, Change); 4] = [
    (0.2, Change::Slow(4)),
    (0.4, Change::Fail(1)),
    (0.6, Change::Add(9)),
    (0.75, Change::Remove(8)),
];

/// Requests that arrive in the first share of a run are not counted: connections are being made.
const WARM_UP: f64 = 1.0 / 15.0;

impl Change {
    pub(crate) fn describe(self) -> String {
        let name = |back_end: usize| BACK_ENDS[back_end].name;
        match self {
            Self::Slow(it) => format!("{} turns slow: a third of its speed", name(it)),
            Self::Fail(it) => format!("{} starts failing: 500, and at once", name(it)),
            Self::Add(it) => format!("{} is added", name(it)),
            Self::Remove(it) => format!("{} is removed", name(it)),
        }
    }

    /// The members of the service after this change.
    pub(crate) fn apply(self, members: &mut Vec<usize>) {
        match self {
            Self::Add(it) => members.push(it),
            Self::Remove(it) => members.retain(|&member| member != it),
            Self::Slow(_) | Self::Fail(_) => {}
        }
    }
}

/// How long a run is, and what randomness it has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    /// From the first arrival to the last.
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

impl RunConfig {
    pub(crate) fn warm_up(&self) -> Duration {
        self.length.mul_f64(WARM_UP)
    }

    /// A generator of one caller's; `stream` tells those of one caller apart.
    pub(crate) fn rng(&self, caller: usize, stream: u64) -> Xoshiro256PlusPlus {
        // Seeds and callers next to each other must not share a generator.
        Xoshiro256PlusPlus::seed_from_u64(self.seed << 32 | (caller as u64) << 8 | stream)
    }

    pub(crate) fn changes(&self) -> Vec<(Duration, Change)> {
        CHANGES.map(|(share, change)| (self.length.mul_f64(share), change)).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_fits_what_is_left_at_the_end() {
        let one = WORKERS as f64 / MEAN_WORK.as_secs_f64();
        let mut speeds = BACK_ENDS.map(|back_end| back_end.speed);
        let mut members: Vec<usize> = (0..AT_START).collect();
        let start: f64 = members.iter().map(|&it| speeds[it] * one).sum();
        assert!((RATE / start - 0.6).abs() < 0.01);

        for (_, change) in CHANGES {
            change.apply(&mut members);
            match change {
                Change::Slow(it) => speeds[it] *= SLOW,
                Change::Fail(it) => speeds[it] = 0.0,
                Change::Add(_) | Change::Remove(_) => {}
            }
            let capacity: f64 = members.iter().map(|&it| speeds[it] * one).sum();
            assert!(RATE / capacity < 0.8, "{change:?} leaves too little: {capacity}");
        }
    }

    #[test]
    fn changes_come_in_order_after_the_warm_up() {
        let run = RunConfig { length: Duration::from_secs(30), seed: 1 };
        let times: Vec<_> = run.changes().iter().map(|(at, _)| *at).collect();
        assert!(times.is_sorted() && times[0] > run.warm_up());
        assert!(*times.last().unwrap() + DRAIN < run.length);
    }
}
