//! The types of a plan.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use crate::catalog::EndpointRef;

/// How a service is balanced at a time.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Grows with every plan that differs from the one before.
    pub version: u64,
    /// In the order of preference.
    pub groups: Vec<Group>,
    /// Every endpoint of the source, picked or not.
    pub endpoints: Vec<PlannedEndpoint>,
    /// Notes on the service as a whole.
    pub notes: Vec<String>,
    /// When the plan changes next without new input: an ejection ends, a share may move.
    pub next_change: Option<Duration>,
    /// The damped share of the own zone.
    pub zone_share: ZoneShare,
    /// The number of other requests in flight for which draw weights are corrected.
    pub corrected_for: Option<f64>,
}

/// The damped share of the own zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneShare {
    /// 0 to 1.
    pub share: f64,
    /// When it last moved, monotonic.
    pub moved_at: Duration,
    /// Since when no endpoint left the own zone or the others. None: there are not two sides to
    /// choose between.
    pub apart_since: Option<Duration>,
}

impl Default for ZoneShare {
    fn default() -> Self {
        Self { share: 1.0, moved_at: Duration::ZERO, apart_since: None }
    }
}

/// Endpoints that one pick compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Such as `zone a`.
    pub name: String,
    /// Its part of the draws, 0 to 1; 0: only overflow reaches it.
    pub share: f64,
    /// Indices into the plan's endpoints.
    pub members: Vec<u32>,
    /// How many of them one pick compares.
    pub choices: u32,
    /// The group that takes its overflow.
    pub overflow: Option<usize>,
    /// From this score of the winner, in requests, a pick looks at the overflow group.
    pub spill_at: f32,
    /// By how much the overflow group must be better, in requests.
    pub spill_margin: f32,
    /// Why the group has this share.
    pub reason: String,
}

/// The plan of one endpoint.
#[derive(Clone, Debug)]
pub struct PlannedEndpoint {
    /// The endpoint as its source tells it.
    pub endpoint: EndpointRef,
    /// Its group, if it is picked.
    pub group: Option<usize>,
    /// It is in the own zone or hinted for it, and the own zone is preferred.
    pub own_zone: bool,
    /// Whether it serves, and if not, why.
    pub state: State,
    /// Product of its factors; the source's weights average 1 over a service.
    pub weight: f64,
    /// Its part of its group's draws by weight, 0 to 1.
    pub draw: f64,
    /// The factor of its draws for its standing load.
    pub standing_bias: f64,
    /// The most requests in flight; `i32::MAX`: no limit.
    pub limit: i32,
    /// Why the weight differs from 1, or the state from serving.
    pub factors: Vec<Reason>,
    outlier_state: Option<Box<OutlierState>>,
}

impl PlannedEndpoint {
    /// An endpoint that serves with weight 1.
    pub fn new(endpoint: EndpointRef, outlier_state: OutlierState) -> Self {
        let mut planned = Self {
            endpoint,
            group: None,
            own_zone: false,
            state: State::Serving,
            weight: 1.0,
            draw: 0.0,
            standing_bias: 1.0,
            limit: i32::MAX,
            factors: Vec::new(),
            outlier_state: None,
        };
        planned.set_outlier_state(outlier_state);
        planned
    }

    /// Whether the source lists it now. A braked endpoint can't be relied on: it is picked only if
    /// no other can take the request.
    pub fn is_ready(&self) -> bool {
        self.state != State::Out && !self.endpoint.braked
    }

    /// Its part of its group's draws, 0 to 1.
    pub fn drawn(&self) -> f64 {
        self.draw * self.standing_bias
    }

    /// Its outlier state.
    pub fn outlier_state(&self) -> OutlierState {
        self.outlier_state.as_deref().copied().unwrap_or_default()
    }

    /// When its probation began, if it is on probation: only later requests are probes.
    pub fn probed_since(&self) -> Option<Duration> {
        match self.outlier_state.as_deref()?.phase {
            Phase::Probing(probation) => Some(probation.began),
            Phase::Clear | Phase::Ejected { .. } => None,
        }
    }

    /// Sets its outlier state. The default, which most endpoints have, takes no memory.
    pub fn set_outlier_state(&mut self, outlier_state: OutlierState) {
        self.outlier_state =
            (outlier_state != OutlierState::default()).then(|| Box::new(outlier_state));
    }
}

impl Plan {
    /// The outlier states of its endpoints, without default ones.
    pub fn outlier_states(&self) -> impl Iterator<Item = (SocketAddr, OutlierState)> + '_ {
        let remembered = self.endpoints.iter().filter(|planned| planned.outlier_state.is_some());
        remembered.map(|planned| (planned.endpoint.address, planned.outlier_state()))
    }
}

/// Whether an endpoint serves, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    Serving,
    /// Ejected for its errors.
    Ejected,
    /// Back from ejection, one request at a time.
    Probing,
    /// Ready, but picked only by overflow, or if others are lost.
    Standby,
    /// Not ready, draining, or of weight 0.
    Out,
}

impl State {
    /// As the API and the command line print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Standby => "standby",
            Self::Out => "out",
        }
    }
}

/// One reason for an endpoint's weight or state.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Which factor: `weight`, `health`, `error_bias`, `ejection`.
    pub name: &'static str,
    /// What it multiplies the weight by.
    pub value: f64,
    /// Why, for a person.
    pub reason: Cow<'static, str>,
}

/// What is remembered of an endpoint's errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutlierState {
    /// Ejected, on probation, or neither.
    pub phase: Phase,
    /// How many ejections in a row; each doubles the next one's length.
    pub times: u32,
    /// The length of the last ejection.
    pub last: Duration,
    /// Outcomes before this time no longer count.
    pub since: Duration,
    /// Failed connections that were already acted on.
    pub unreachable_seen: u64,
}

/// Ejected, on probation, or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    /// Like any other.
    #[default]
    Clear,
    /// Not picked until then.
    Ejected {
        /// Monotonic.
        until: Duration,
    },
    /// One request at a time.
    Probing(Probation),
}

/// The probation after an ejection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probation {
    /// When it began, monotonic. A request that began earlier is no probe.
    pub began: Duration,
    /// Successes before it.
    pub succeeded: u64,
    /// Failures before it.
    pub failed: u64,
    /// Successful probes so far.
    pub done: u64,
    /// The time of the last one, or of the beginning of the probation.
    pub heard: Duration,
    /// Requests in flight that are no probes, in cost units.
    pub standing: u32,
    /// When no probe was in flight last, or the last wait for one ended.
    pub free: Duration,
}
