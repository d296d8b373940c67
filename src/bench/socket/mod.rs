//! What a call over the socket costs, compared with a bare server of the same framing and bytes.
//!
//! - `floor`: the bare servers, in a process of their own: tonic and hyper with canned answers
//! - `callers`: callers that keep a number of calls in flight, over each protocol
//! - `stats`: the transports, and what callers measure
//!
//! Ours and the floor take turns, so that other load on the machine affects both. A ratio is the mean of
//! the ratios of all turns.

use std::{io, path::PathBuf, time::Duration};

use self::{
    callers::Callers,
    floor::FloorProcess,
    stats::{CallStats, Transport},
};
use super::{
    agent_process::AgentProcess,
    report::{Goal, Report, Row},
};
use crate::sim::estimate::Estimate;

mod callers;
mod floor;
mod stats;

/// The length of a turn, and the number of turns. There are many short ones, because on a shared machine
/// half of the processors may be missing for seconds.
const TURN: Duration = Duration::from_millis(500);
const TURNS: u32 = 30;
/// The most that p50 may be over the floor's, and that the floor's throughput may be over ours.
const OVER_FLOOR: f64 = 1.25;
/// How many times the calls of unary gRPC a session has to reach, at 64 in flight with a call a message.
const SESSION_GAIN: f64 = 3.0;
/// The larger number of calls in flight.
const MANY: usize = 64;

/// Arguments of `pointsman bench socket`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only the bare server at this path; the floor's process does this.
    #[arg(long, hide = true, value_name = "PATH")]
    floor: Option<PathBuf>,
    /// Only this way to send calls.
    #[arg(long, value_enum)]
    way: Option<Transport>,
    /// Only this number of calls in flight.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: Option<u16>,
}

/// Measures all transports, or serves as the floor.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    if let Some(path) = &args.floor {
        floor::serve(path)?;
        return Ok(Report::default());
    }
    let (turn, turns) = if smoke { (TURN / 10, 1) } else { (TURN, TURNS) };
    let agent = AgentProcess::start(1)?;
    let bare = FloorProcess::start()?;
    let ours = Callers::new(agent.socket(), agent.socket())?;
    let floor = Callers::new(bare.grpc(), bare.http())?;
    let mut report = Report::default();
    let mut unary_at_many = 0.0;
    let mut session_at_many = 0.0;
    for (transport, title) in [
        (Transport::Unary, "gRPC, a call each"),
        (Transport::Session, "gRPC, a session, a call a message"),
        (Transport::Batches, "gRPC, a session, all in one message"),
        (Transport::Http, "HTTP/1.1 and JSON, kept alive"),
    ] {
        if args.way.is_some_and(|only| only != transport) {
            continue;
        }
        let mut rows = Vec::new();
        for in_flight in args.in_flight.map_or(vec![1, MANY], |only| vec![only.into()]) {
            let (mut own, mut bare) = (CallStats::empty(), CallStats::empty());
            let (mut p50, mut a_second) = (Vec::new(), Vec::new());
            for _ in 0..turns {
                let (one, other) =
                    (ours.run(transport, in_flight, turn)?, floor.run(transport, in_flight, turn)?);
                p50.push(one.p50() / other.p50());
                a_second.push(one.calls_per_second() / other.calls_per_second());
                own.add(&one);
                bare.add(&other);
            }
            match (transport, in_flight) {
                (Transport::Unary, MANY) => unary_at_many = own.calls_per_second(),
                (Transport::Session, MANY) => session_at_many = own.calls_per_second(),
                _ => {}
            }
            let name = |what: &str| format!("{in_flight} in flight: {what}");
            rows.push(
                Row::value(name("p50"), own.p50(), "us")
                    .over(bare.p50())
                    .paired(Estimate::of(p50))
                    .goal(Goal::ratio_at_most(OVER_FLOOR)),
            );
            rows.push(
                Row::value(name("calls"), own.calls_per_second(), "/s")
                    .over(bare.calls_per_second())
                    .paired(Estimate::of(a_second))
                    .goal(Goal::ratio_above(1.0 / OVER_FLOOR)),
            );
        }
        report.section(title.to_owned(), rows);
    }
    if args.way.is_some() || args.in_flight.is_some() {
        return Ok(report);
    }
    let gain = Row::value("a session's calls over calls of their own", session_at_many, "/s")
        .over(unary_at_many)
        .goal(Goal::ratio_above(SESSION_GAIN));
    report
        .section(format!("{MANY} in flight, a call a message"), vec![gain])
        .notes
        .push("The floors are tonic and hyper with canned answers of the same bytes.".into());
    Ok(report)
}
