//! How soon a restarted agent gives its first pick while its source is gone. The time counts from the
//! start of the process. The state has 1,000 services of 100 endpoints.

use std::{io, time::Duration};

use super::{
    agent_process::{AgentProcess, ENDPOINTS},
    report::{Goal, Report, Row},
};

const SERVICES: usize = 1_000;
const STARTS: usize = 11;
const MOST_MS: f64 = 200.0;

/// Restarts the real agent several times on its own state.
pub fn run(smoke: bool) -> io::Result<Report> {
    let (services, starts) = if smoke { (10, 1) } else { (SERVICES, STARTS) };
    let mut agent = AgentProcess::start_with_state(services)?;
    agent.pick_from(1)?;
    let mut took: Vec<Duration> = Vec::with_capacity(starts);
    for _ in 0..starts {
        took.push(agent.restart_without_source()?);
    }
    took.sort();
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let rows = vec![
        Row::value("from start to first pick, median", ms(took[starts / 2]), "ms")
            .goal(Goal::value_at_most(MOST_MS)),
        Row::value(format!("slowest of {starts}"), ms(took[starts - 1]), "ms"),
    ];
    let mut report = Report::default();
    report.section(
        format!("Started on its state alone, {services} services x {ENDPOINTS} endpoints"),
        rows,
    );
    Ok(report)
}
