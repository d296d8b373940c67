//! `pointsman report`: how a picked request went.

use std::time::Duration;

use clap::{ValueEnum, builder::NonEmptyStringValueParser};

use super::{
    client,
    exit::Failure,
    format,
    output::{self, Format},
};
use crate::api::v1;

/// Report how picked requests went, which ends their leases.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The leases, as `pick -o json` shows them.
    #[arg(required = true, value_name = "LEASE", value_parser = NonEmptyStringValueParser::new())]
    leases: Vec<String>,
    /// What happened.
    #[arg(long, value_enum, default_value_t, value_name = "EVENT")]
    event: Event,
    /// How the request went; required if it ended.
    #[arg(long, value_enum, required_if_eq("event", "ended"), value_name = "OUTCOME")]
    outcome: Option<Outcome>,
    /// The time from the request to the first byte of the response.
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    latency: Option<Duration>,
    /// How long the lease lasts from now on, for started and renewed [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    lease_ttl: Option<Duration>,
    /// The request was a retry.
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Event {
    /// The request is over.
    #[default]
    Ended,
    /// Another pick than the first of its response is in flight from now on.
    Started,
    /// The request continues.
    Renewed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// The server answered without a failure.
    Success,
    /// The server answered with a failure.
    Failure,
    /// No connection could be made.
    Unreachable,
    /// The deadline passed.
    Expired,
    /// The caller gave up, which says nothing about the server.
    Cancelled,
    /// The server is alive, but full.
    Rejected,
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        match event {
            Event::Ended => Self::Ended,
            Event::Started => Self::Started,
            Event::Renewed => Self::Renewed,
        }
    }
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Unreachable => Self::Unreachable,
            Outcome::Expired => Self::Expired,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Rejected => Self::Rejected,
        }
    }
}

/// # Errors
/// The agent's error, or an unknown lease.
pub fn run(args: &Args) -> Result<(), Failure> {
    let report = |lease: &String| v1::Report {
        lease: lease.clone(),
        event: v1::Event::from(args.event).into(),
        outcome: args.outcome.map_or(v1::Outcome::Unspecified, Into::into).into(),
        latency: args.latency.map(Into::into),
        lease_ttl: args.lease_ttl.map(Into::into),
        retry: args.retry,
        load: None,
    };
    let request = v1::ReportRequest { reports: args.leases.iter().map(report).collect() };
    let response: v1::ReportResponse = client::post(&args.client, "/v1/report", &request)?;
    if args.output.format == Format::Json {
        output::print_json(&response)?;
    }
    match response.unknown.as_slice() {
        [] => Ok(()),
        unknown => Err(Failure::other(format!(
            "unknown leases: {}; only the user that picked can report a lease, {}",
            unknown.join(", "),
            match args.event {
                Event::Ended => "until a minute after its end",
                Event::Started | Event::Renewed => "until its end: pick again",
            }
        ))),
    }
}
