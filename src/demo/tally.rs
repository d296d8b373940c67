//! What the callers and the back-ends measured, summed by arm.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{
    in_flight::InFlightStats,
    message::{End, Request},
    scenario::{Arm, BACK_ENDS, CALLERS_PER_ZONE},
};

/// Microseconds with three digits, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are valid, so this can't fail.
    #[allow(clippy::unwrap_used)]
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

/// The sums of one arm.
pub(crate) struct ArmTally {
    pub(crate) latency: Histogram<u64>,
    /// The time of picks. Empty in the other arms.
    pub(crate) pick: Histogram<u64>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) cut: u64,
    pub(crate) expired: u64,
    /// Requests that were sent to a back-end. `crossed` counts those to another zone than the caller's.
    pub(crate) sent: u64,
    pub(crate) crossed: u64,
    /// What the back-ends measured. During the run, their last message.
    pub(crate) in_flight: InFlightStats,
}

impl ArmTally {
    pub(crate) fn new() -> Self {
        Self {
            latency: histogram(),
            pick: histogram(),
            requests: 0,
            failed: 0,
            cut: 0,
            expired: 0,
            sent: 0,
            crossed: 0,
            in_flight: InFlightStats::default(),
        }
    }

    pub(crate) fn add(&mut self, zone: usize, request: &Request) {
        self.requests += 1;
        match request.end {
            End::Answered => {}
            End::Failed => self.failed += 1,
            End::Cut => self.cut += 1,
            End::Expired => self.expired += 1,
        }
        // Failures count here, too: a failure at once did not wait.
        self.latency.saturating_record(request.latency.into());
        if let Some(pick) = request.pick {
            self.pick.saturating_record(pick.into());
        }
        if let Some(back_end) = request.back_end {
            self.sent += 1;
            self.crossed += u64::from(BACK_ENDS[back_end].zone != zone);
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.failed + self.cut + self.expired
    }

    /// The share of the sent requests that left their caller's zone.
    pub(crate) fn cross_zone(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.crossed as f64 / self.sent as f64 }
    }

    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }
}

/// The sums of all arms, over the run and over its last second.
pub(crate) struct Tally {
    pub(crate) whole: [ArmTally; Arm::ALL.len()],
    pub(crate) second: [ArmTally; Arm::ALL.len()],
    /// How late arrivals were, in microseconds, because the machine was too busy.
    pub(crate) late: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let arms = || [(); Arm::ALL.len()].map(|()| ArmTally::new());
        Self { whole: arms(), second: arms(), late: histogram() }
    }

    /// Adds the requests of a message from a caller.
    pub(crate) fn add(
        &mut self,
        caller: usize,
        ended: &[Vec<Request>; Arm::ALL.len()],
        late: &[u32],
    ) {
        let zone = caller / CALLERS_PER_ZONE;
        for (arm, requests) in ended.iter().enumerate() {
            for request in requests {
                self.second[arm].add(zone, request);
                if request.counted {
                    self.whole[arm].add(zone, request);
                }
            }
        }
        late.iter().for_each(|&by| self.late.saturating_record(by.into()));
    }

    /// Sets what the back-ends of an arm have in flight now.
    pub(crate) fn gauge(&mut self, arm: usize, in_flight: InFlightStats) {
        self.second[arm].in_flight = in_flight;
    }

    /// Begins the next second, after the last one was shown.
    pub(crate) fn next_second(&mut self) {
        for arm in &mut self.second {
            let in_flight = std::mem::take(&mut arm.in_flight);
            *arm = ArmTally { in_flight, ..ArmTally::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(back_end: Option<usize>, end: End, counted: bool) -> Request {
        Request { counted, latency: 40_000, pick: None, back_end, end }
    }

    #[test]
    fn a_request_to_another_zone_crosses_and_one_never_sent_does_not() {
        let mut arm = ArmTally::new();
        arm.add(0, &request(Some(0), End::Answered, true));
        arm.add(0, &request(Some(3), End::Expired, true));
        arm.add(0, &request(None, End::Cut, true));
        assert_eq!((arm.requests, arm.errors(), arm.cross_zone()), (3, 2, 0.5));
    }

    #[test]
    fn what_arrived_in_the_warm_up_is_shown_but_not_counted() {
        let mut tally = Tally::new();
        let ended = [
            vec![request(Some(0), End::Answered, false)],
            vec![request(None, End::Cut, true)],
            vec![],
        ];
        tally.add(0, &ended, &[7]);
        assert_eq!(tally.whole.each_ref().map(|arm| arm.requests), [0, 1, 0]);
        assert_eq!(tally.second.each_ref().map(|arm| arm.requests), [1, 1, 0]);
        tally.next_second();
        assert_eq!(tally.second.each_ref().map(|arm| arm.requests), [0, 0, 0]);
    }
}
