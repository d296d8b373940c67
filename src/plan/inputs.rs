//! What a plan is made from.

use std::time::Duration;

use crate::{
    catalog::{EndpointRef, Locality},
    load::{EndpointLoad, ServiceLoad},
    policy::Policy,
};

/// Everything that a plan is made from.
pub struct Inputs<'a> {
    /// Settings of the service.
    pub policy: &'a Policy,
    /// Where this agent runs.
    pub locality: &'a Locality,
    /// The service's endpoints, in the order of the source.
    pub endpoints: &'a [EndpointRef],
    /// What was observed of each, in the same order.
    pub loads: &'a [&'a EndpointLoad],
    /// What was observed of the service.
    pub service: &'a ServiceLoad,
    /// Monotonic.
    pub now: Duration,
}
