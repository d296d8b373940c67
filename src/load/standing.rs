//! Standing load: requests that are open for longer than the service's requests take.
//!
//! These are streams, and leases that nobody will report. Standing load says nothing about how busy
//! an endpoint is, so scores leave it out. This file decides how long an epoch is, and which
//! endpoint may be hanging instead of holding streams.

use std::time::Duration;

use super::ages::Turn;

/// The shortest epoch: the time between two plans.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest epoch. For the latency statistics, too, a longer request is a stream.
const LONGEST: Duration = Duration::from_secs(30);
/// An epoch is this many times what requests take, by [`longest`](super::ServiceTime::longest).
const TIMES_THE_LONGEST: u32 = 2;
/// Epochs are too short if more than one in this many of the requests that ended with an answer was
/// standing. By such ends, epochs adapt to what requests take where no latency is reported.
const TOO_MANY: u64 = 4;
/// Epochs are too long if fewer than one in this many was standing; it takes this many ends to find
/// that.
const TOO_FEW: u64 = 100;
/// The fewest ends by which an epoch is lengthened.
const FEWEST_TO_LENGTHEN: u64 = 8;

/// After this many more requests, what is known of the part that becomes standing has half of its
/// weight.
const HALF_LIFE: f64 = 64.0;
/// The requests, none of which became standing, that each service is credited with: one forgotten
/// lease must not look like a service of streams.
const CREDIT: f64 = 8.0;

/// The length of a service's epochs, and the part of its requests that becomes standing.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    turned_at: Duration,
    /// The length by the part of ends that were of standing requests.
    by_ends: Duration,
    by_latency: Duration,
    ends: (u64, u64),
    became: f64,
    ended: f64,
}

impl Epochs {
    /// Begins the first epoch at `now`.
    pub fn new(now: Duration) -> Self {
        Self {
            turned_at: now,
            by_ends: SHORTEST,
            by_latency: SHORTEST,
            ends: (0, 0),
            became: 0.0,
            ended: 0.0,
        }
    }

    /// The length of an epoch.
    pub fn length(&self) -> Duration {
        self.by_ends.max(self.by_latency)
    }

    /// When the next epoch begins.
    pub fn next_turn(&self) -> Duration {
        self.turned_at + self.length()
    }

    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.next_turn()
    }

    /// Takes in a turn, with which another epoch began. `longest` is what the service's requests
    /// take, if that is known.
    pub fn turned(&mut self, now: Duration, turn: &Turn, longest: Option<Duration>) {
        self.turned_at = now;
        let longest = longest.unwrap_or_default().min(LONGEST);
        self.by_latency = (longest * TIMES_THE_LONGEST).clamp(SHORTEST, LONGEST);
        self.ends = (self.ends.0 + turn.ended, self.ends.1 + turn.ended_standing);
        let (ended, standing) = self.ends;
        if ended >= FEWEST_TO_LENGTHEN && standing * TOO_MANY > ended {
            self.by_ends = (self.length() * 2).min(LONGEST);
            self.ends = (0, 0);
        } else if ended >= TOO_FEW {
            if standing * TOO_FEW < ended {
                self.by_ends = (self.by_ends / 2).max(SHORTEST);
            }
            self.ends = (0, 0);
        }
        let (became, ended) = (turn.became as f64, turn.ended as f64);
        let keep = 0.5f64.powf((became + ended) / HALF_LIFE);
        self.became = self.became * keep + became;
        self.ended = self.ended * keep + ended;
    }

    /// The part of requests that becomes standing, 0 to 1: near 1 for a service of streams.
    pub fn part(&self) -> f64 {
        self.became / (self.became + self.ended + CREDIT)
    }
}

/// An endpoint may be hanging from this many requests in a row that became standing there without
/// an answer of the endpoint. One may be a forgotten lease.
const UNANSWERED: u32 = 2;
/// The epochs after which such an endpoint gets a request again, doubled each time.
const PATIENCE: u32 = 4;
const MOST_DOUBLINGS: u32 = 6;

/// Whether an endpoint may be hanging: it gets requests, and gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hanging {
    unanswered: u32,
    /// The epochs since it was found to be hanging.
    epochs: u32,
    times: u32,
}

impl Hanging {
    /// Takes in the end of an epoch: what became standing at the endpoint, and whether it gave an
    /// answer.
    pub fn turned(&mut self, became: u32, answered: bool) {
        if answered {
            *self = Self::default();
        } else if became > 0 {
            self.unanswered = self.unanswered.saturating_add(became);
            self.epochs = 0;
        } else if self.is() {
            self.epochs += 1;
            if self.epochs >= PATIENCE << self.times.min(MOST_DOUBLINGS) {
                // After one more request without an answer, the endpoint waits for twice as long.
                *self = Self { unanswered: UNANSWERED - 1, epochs: 0, times: self.times + 1 };
            }
        }
    }

    /// Whether the endpoint may be hanging.
    pub fn is(&self) -> bool {
        self.unanswered >= UNANSWERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_epoch_is_twice_what_requests_take() {
        let mut epochs = Epochs::new(ms(0));
        assert_eq!(epochs.length(), SHORTEST);
        assert!(!epochs.is_due(ms(99)) && epochs.is_due(ms(100)));
        epochs.turned(ms(100), &Turn::default(), Some(ms(400)));
        assert_eq!(epochs.length(), ms(800));
        epochs.turned(ms(200), &Turn::default(), Some(Duration::from_secs(100)));
        assert_eq!(epochs.length(), LONGEST);
    }

    #[test]
    fn without_latencies_an_epoch_grows_until_few_requests_are_standing_when_they_end() {
        let mut epochs = Epochs::new(ms(0));
        for _ in 0..3 {
            epochs.turned(ms(0), &Turn { ended: 10, ended_standing: 5, ..Turn::default() }, None);
        }
        assert_eq!(epochs.length(), ms(800));
        epochs.turned(ms(0), &Turn { ended: 200, ended_standing: 10, ..Turn::default() }, None);
        assert_eq!(epochs.length(), ms(800), "one in twenty is no reason");
        epochs.turned(ms(0), &Turn { ended: 200, ended_standing: 0, ..Turn::default() }, None);
        assert_eq!(epochs.length(), ms(400));
    }

    #[test]
    fn an_epoch_keeps_its_length_at_one_standing_end_in_four_and_at_one_in_a_hundred() {
        let turns = |ended, ended_standing| {
            let mut epochs = Epochs::new(ms(0));
            epochs.turned(ms(0), &Turn { ended: 8, ended_standing: 3, ..Turn::default() }, None);
            epochs.turned(ms(0), &Turn { ended, ended_standing, ..Turn::default() }, None);
            epochs.length()
        };
        assert_eq!((turns(8, 2), turns(8, 3)), (ms(200), ms(400)));
        assert_eq!((turns(100, 1), turns(101, 1)), (ms(200), ms(100)));
    }

    #[test]
    fn sixty_four_more_requests_halve_what_is_known_of_the_part_that_becomes_standing() {
        let mut epochs = Epochs::new(ms(0));
        epochs.turned(ms(0), &Turn { became: 64, ..Turn::default() }, None);
        assert_eq!(epochs.part(), 64.0 / (64.0 + CREDIT));
        epochs.turned(ms(0), &Turn { ended: 64, ..Turn::default() }, None);
        assert_eq!(epochs.part(), 32.0 / (32.0 + 64.0 + CREDIT));
        epochs.turned(ms(0), &Turn { became: 32, ended: 32, ..Turn::default() }, None);
        assert_eq!(epochs.part(), 48.0 / (48.0 + 64.0 + CREDIT));
    }

    #[test]
    fn one_forgotten_lease_is_no_service_of_streams() {
        let mut epochs = Epochs::new(ms(0));
        epochs.turned(ms(0), &Turn { became: 1, ..Turn::default() }, None);
        assert!(epochs.part() < 0.12, "{}", epochs.part());
        epochs.turned(ms(0), &Turn { became: 60, ..Turn::default() }, None);
        assert!(epochs.part() > 0.8, "{}", epochs.part());
        epochs.turned(ms(0), &Turn { ended: 400, ..Turn::default() }, None);
        assert!(epochs.part() < 0.01, "{}", epochs.part());
    }

    #[test]
    fn an_endpoint_that_gives_no_answer_hangs_until_it_gives_one_or_is_tried_again() {
        let mut hanging = Hanging::default();
        hanging.turned(1, false);
        assert!(!hanging.is(), "one may be a forgotten lease");
        hanging.turned(1, false);
        assert!(hanging.is());
        (0..PATIENCE).for_each(|_| hanging.turned(0, false));
        assert!(!hanging.is(), "to be tried once");
        hanging.turned(1, false);
        (0..PATIENCE).for_each(|_| hanging.turned(0, false));
        assert!(hanging.is(), "twice as long now");
        hanging.turned(0, true);
        assert!(!hanging.is());
    }
}
