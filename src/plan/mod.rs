//! What is decided for a service at a time, with the reason of every factor.

use std::{borrow::Cow, sync::Arc};

use crate::catalog::Endpoint;

/// What is decided for a service at a time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Grows with every plan that differs from the one before.
    pub version: u64,
    /// What one pick compares; in the order of preference.
    pub groups: Vec<Group>,
    /// Every endpoint the source knows, picked or not.
    pub endpoints: Vec<Planned>,
    /// What holds for the service as a whole.
    pub notes: Vec<String>,
}

/// Endpoints that one pick compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Such as `zone a`.
    pub name: String,
    /// Its part of the draws, 0 to 1; 0: reached only by overflow.
    pub share: f64,
    /// Indices into the plan's endpoints.
    pub members: Vec<usize>,
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
    pub endpoint: Arc<Endpoint>,
    /// Where it is picked from, if it is.
    pub group: Option<usize>,
    /// In a word.
    pub state: State,
    /// Product of its factors; averages 1 over a service.
    pub weight: f64,
    /// Its part of its group's draws, 0 to 1.
    pub draw: f64,
    /// Most requests in flight at a time; `i32::MAX` for no bound.
    pub limit: i32,
    /// Why.
    pub factors: Vec<Factor>,
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

/// One reason for an endpoint's weight or state.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Which factor: `weight`, `health`, `error_bias`, `ejection`.
    pub name: &'static str,
    /// What it multiplies the weight by.
    pub value: f64,
    /// Why, for a person.
    pub reason: Cow<'static, str>,
}
