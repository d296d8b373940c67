//! How a client's subscription to one type is doing.

use std::time::Duration;

use super::rejection::Rejection;
use crate::resource::Version;

/// How a subscription is doing, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// All resources are subscribed to.
    pub wildcard: bool,
    /// The number of names that are subscribed to.
    pub named: usize,
    /// The number of resources that the client has, or will have.
    pub held: usize,
    /// The version of the last response, where a response has one: on a state-of-the-world stream.
    pub version: Option<Version>,
    /// The number of responses without an answer of the client.
    pub unanswered: usize,
    /// When the oldest of them was sent.
    pub unanswered_since: Option<Duration>,
    /// What the client rejected last, if it has accepted nothing since.
    pub rejected: Option<Rejection>,
}

/// What a client says of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the response was sent.
    pub sent: Duration,
    /// What is wrong with it; None: the client accepts it.
    pub rejection: Option<Rejection>,
}
