//! A report about a picked request, and its answer.

use std::time::Duration;

use crate::publish::{Outcome, ServerLoad};

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub event: Event,
    /// The load of the server, if it reported one.
    pub load: Option<ServerLoad>,
    /// The request was a retry.
    pub retry: bool,
}

/// What a report says about a picked request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The request is over, with the latency if it was timed.
    Ended(Outcome, Option<Duration>),
    /// The request is in flight from now on. The lease lives this long from now.
    Started(Duration),
    /// The request goes on. The lease lives this long from now.
    Renewed(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The report counts now, or counted before.
    Accepted,
    /// Nothing changed. Either this identity never had the lease, or it ended too long ago, or it
    /// has ended and the report is not of an end.
    Unknown,
}
