//! Zones, back-ends, load, and the changes during a run.
//!
//! The numbers make a choice without load information visibly bad. The load is 60% of the capacity at
//! the start. With evenly spread requests the slowest back-end of a zone then has 80% of its capacity.
//! The back-end that becomes slow has nearly twice its capacity. At the end the load is about 70% of the
//! remaining capacity.

use std::time::Duration;

use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use serde::{Deserialize, Serialize};

/// How the requests of an arm find their back-ends. All arms get the same arrivals with the same work at
/// the same time. Each has its own set of back-ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arm {
    /// Each caller opens one connection to a random back-end and keeps it, as through a virtual IP.
    Connection,
    /// Each request asks the agent.
    Pick,
    /// Each request goes to a random back-end. This is the baseline of the other two.
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

/// A back-end. All arms have the same ones.
pub(crate) struct BackEnd {
    pub(crate) name: &'static str,
    /// Index into [`ZONES`].
    pub(crate) zone: usize,
    /// Its speed. At 1 it does [`MEAN_WORK`] in exactly that time.
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

/// How many back-ends are members from the start. They are the first ones.
pub(crate) const AT_START: usize = 9;

/// How many requests a back-end works on at the same time. The others wait.
pub(crate) const WORKERS: usize = 4;

/// The mean of the exponential work of a request. It is long compared with the millisecond to which
/// timers round.
pub(crate) const MEAN_WORK: Duration = Duration::from_millis(60);

/// When callers give up. It is long compared with any wait under an even load.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Requests per second of one arm: 60% of the capacity of nine back-ends of mean speed 1.
pub(crate) const RATE: f64 = 360.0;

/// Client processes per zone. Each has one connection in the arm that keeps one.
pub(crate) const CALLERS_PER_ZONE: usize = 4;

/// What happens to a back-end while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// It works at [`SLOW`] of its speed.
    Slow(usize),
    /// It answers 500 at once. By its load alone it then looks idle.
    Fail(usize),
    /// It joins the service.
    Add(usize),
    /// It leaves the service, and closes its connections gracefully a second later.
    Remove(usize),
}

/// The part of its speed that a slow back-end keeps.
pub(crate) const SLOW: f64 = 1.0 / 3.0;

/// How long a removed back-end still serves callers that do not know of its removal yet.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// When each change comes, as a share of the run.
const CHANGES: [(f64, Change); 4] = [
    (0.2, Change::Slow(4)),
    (0.4, Change::Fail(1)),
    (0.6, Change::Add(9)),
    (0.75, Change::Remove(8)),
];

/// The first part of a run is not counted, because callers still open their connections.
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

/// The length and the seed of a run.
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

    /// A random generator of a caller. Different `stream`s of a caller are independent.
    pub(crate) fn rng(&self, caller: usize, stream: u64) -> Xoshiro256PlusPlus {
        // Neighbouring seeds and callers must not share a generator.
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
