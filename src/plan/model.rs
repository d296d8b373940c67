//! The words of a plan.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use crate::catalog::EndpointRef;

/// What is decided for a service at a time.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Grows with every plan that differs from the one before.
    pub version: u64,
    /// What one pick compares; in the order of preference.
    pub groups: Vec<Group>,
    /// Every endpoint the source knows, picked or not.
    pub endpoints: Vec<Planned>,
    /// What holds for the service as a whole.
    pub notes: Vec<String>,
    /// When time alone will change something: an ejection ends, a share may move.
    pub next_change: Option<Duration>,
    /// The damped share of the own zone.
    pub zone_share: ZoneShare,
    /// The others that a request meets, for which draw weights are corrected.
    pub corrected_for: Option<f64>,
}

/// The damped share of the own zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneShare {
    /// 0 to 1.
    pub share: f64,
    /// When it last moved, monotonic.
    pub moved_at: Duration,
    /// Since when the own zone and the others consist of what they do, but for endpoints that came;
    /// None: there are no two to choose between.
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
    /// Its part of the draws, 0 to 1; 0: reached only by overflow.
    pub share: f64,
    /// Indices into the plan's endpoints.
    pub members: Vec<u32>,
    /// How many of them one pick compares.
    pub choices: u32,
    /// The group that takes over.
    pub overflow: Option<usize>,
    /// Winner's score, in requests, from which the overflow group is looked at.
    pub spill_at: f32,
    /// By how much the other group must be better, in requests.
    pub spill_margin: f32,
    /// Why it is as it is.
    pub reason: String,
}

/// What is decided for one endpoint.
#[derive(Clone, Debug)]
pub struct Planned {
    /// As the source knows it.
    pub endpoint: EndpointRef,
    /// Where it is picked from, if it is.
    pub group: Option<usize>,
    /// It is in the own zone or meant for it, and that is preferred.
    pub own_zone: bool,
    /// In a word.
    pub state: State,
    /// Product of its factors; the source's weights average 1 over a service.
    pub weight: f64,
    /// Its part of its group's draws by weight, 0 to 1.
    pub draw: f64,
    /// By what its draws are multiplied for its standing load.
    pub lean: f64,
    /// Most requests in flight at a time; `i32::MAX` for no bound.
    pub limit: i32,
    /// Why; what is as usual is not listed.
    pub factors: Vec<Reason>,
    outlier_state: Option<Box<OutlierState>>,
}

impl Planned {
    /// Serving, with nothing said about it yet.
    pub fn new(endpoint: EndpointRef, outlier_state: OutlierState) -> Self {
        let mut planned = Self {
            endpoint,
            group: None,
            own_zone: false,
            state: State::Serving,
            weight: 1.0,
            draw: 0.0,
            lean: 1.0,
            limit: i32::MAX,
            factors: Vec::new(),
            outlier_state: None,
        };
        planned.set_outlier_state(outlier_state);
        planned
    }

    /// Whether the source vouches for it now. What the brake kept is no part of what can be counted
    /// on: it is picked where nothing else can take the request.
    pub fn is_ready(&self) -> bool {
        self.state != State::Out && !self.endpoint.braked
    }

    /// Its part of its group's draws, 0 to 1.
    pub fn drawn(&self) -> f64 {
        self.draw * self.lean
    }

    /// What must be remembered of its errors.
    pub fn outlier_state(&self) -> OutlierState {
        self.outlier_state.as_deref().copied().unwrap_or_default()
    }

    /// Since when a request's outcome is that of a probe, where only probes count.
    pub fn probed_since(&self) -> Option<Duration> {
        match self.outlier_state.as_deref()?.phase {
            Phase::Probing(probation) => Some(probation.began),
            Phase::Clear | Phase::Ejected { .. } => None,
        }
    }

    /// Remembers it; most endpoints have nothing to remember, and take no memory for it.
    pub fn set_outlier_state(&mut self, outlier_state: OutlierState) {
        self.outlier_state =
            (outlier_state != OutlierState::default()).then(|| Box::new(outlier_state));
    }
}

impl Plan {
    /// What must be remembered of its endpoints' errors; most have nothing.
    pub fn outlier_states(&self) -> impl Iterator<Item = (SocketAddr, OutlierState)> + '_ {
        let remembered = self.endpoints.iter().filter(|planned| planned.outlier_state.is_some());
        remembered.map(|planned| (planned.endpoint.address, planned.outlier_state()))
    }
}

/// An endpoint's state in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    Serving,
    /// Put aside for its errors.
    Ejected,
    /// Back from ejection, one request at a time.
    Probing,
    /// Ready, but only others' overflow or loss reaches it.
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

/// Where an endpoint stands with its errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutlierState {
    /// Put aside, on probation, or neither.
    pub phase: Phase,
    /// How often in a row it was ejected; each doubles the next ejection.
    pub times: u32,
    /// How long the last ejection was.
    pub last: Duration,
    /// Outcomes before this time don't count any more.
    pub since: Duration,
    /// All unreachable reports that were already acted on.
    pub unreachable_seen: u64,
}

/// Put aside, on probation, or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    /// Like any other.
    #[default]
    Clear,
    /// No picks until then.
    Ejected {
        /// Monotonic.
        until: Duration,
    },
    /// One request at a time.
    Probing(Probation),
}

/// An endpoint's way back from ejection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probation {
    /// When it began, monotonic: what began before is no probe.
    pub began: Duration,
    /// All successes before.
    pub succeeded: u64,
    /// All failures before.
    pub failed: u64,
    /// Successful probes so far.
    pub done: u64,
    /// When the last of them was, or the probation began.
    pub heard: Duration,
    /// In flight and no probe, in cost units.
    pub standing: u32,
    /// When no probe was in flight last, or was last waited for long enough.
    pub free: Duration,
}
