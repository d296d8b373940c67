//! The memory of an agent: empty, and with 1,000 services of 100 endpoints, after a pick from each.

use std::{fs, io, thread, time::Duration};

use super::{
    agent_process::{AgentProcess, ENDPOINTS},
    report::{Goal, Report, Row},
};

const SERVICES: usize = 1_000;
const EMPTY_MIB: f64 = 16.0;
const BYTES_AN_ENDPOINT: f64 = 1024.0;
/// The time until memory that only the start needed is freed, and tables are asleep.
const SETTLE: Duration = Duration::from_secs(3);

/// Starts the real agent twice and reads its memory from the kernel.
pub fn run(smoke: bool) -> io::Result<Report> {
    let services = if smoke { 10 } else { SERVICES };
    let settle = if smoke { SETTLE / 10 } else { SETTLE };
    let empty = {
        let agent = AgentProcess::start(0)?;
        thread::sleep(settle);
        MemoryUsage::of(agent.pid())?
    };
    let agent = AgentProcess::start(services)?;
    thread::sleep(settle);
    let known = MemoryUsage::of(agent.pid())?;
    agent.pick_from(services)?;
    let busy = MemoryUsage::of(agent.pid())?;
    thread::sleep(settle);
    let rested = MemoryUsage::of(agent.pid())?;

    let endpoints = (services * ENDPOINTS) as f64;
    let per_endpoint = |usage: &MemoryUsage| (usage.anonymous + usage.shared) * 1024.0 / endpoints;
    let mib = |name: &str, kib: f64| Row::value(name, kib / 1024.0, "MiB");
    let rows = vec![
        mib("empty: anonymous", empty.anonymous).goal(Goal::value_at_most(EMPTY_MIB)),
        mib("empty: resident", empty.resident),
        mib("services known: anonymous", known.anonymous),
        mib("all picked from: anonymous", busy.anonymous),
        mib("all picked from: shared tables and counters", busy.shared),
        Row::value("all picked from: anonymous + shared an endpoint", per_endpoint(&busy), "B")
            .goal(Goal::value_at_most(BYTES_AN_ENDPOINT)),
        Row::value("at rest again: anonymous + shared an endpoint", per_endpoint(&rested), "B")
            .goal(Goal::value_at_most(BYTES_AN_ENDPOINT)),
    ];
    let mut report = Report::default();
    report
        .section(format!("Memory of the agent, {services} services x {ENDPOINTS} endpoints"), rows);
    Ok(report)
}

/// The memory of a process, in KiB.
pub(super) struct MemoryUsage {
    /// Private memory.
    pub(super) anonymous: f64,
    /// Its part of shared memory, which is tables and counters.
    shared: f64,
    /// All resident memory, with the program itself, which processes share.
    pub(super) resident: f64,
}

impl MemoryUsage {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)
            .ok_or_else(|| io::Error::other("smaps_rollup lacks a field"))
    }

    fn parse(rollup: &str) -> Option<Self> {
        let field = |name: &str| -> Option<f64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self {
            anonymous: field("Anonymous:")?,
            shared: field("Pss_Shmem:")?,
            resident: field("Rss:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_sums_are_read() {
        let usage = MemoryUsage::parse(
            "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss_Shmem:   12 kB\n\
             Shared_Clean: 0 kB\nAnonymous:      4321 kB\n",
        )
        .unwrap();
        assert_eq!((usage.anonymous, usage.shared, usage.resident), (4321.0, 12.0, 9000.0));
        assert!(MemoryUsage::parse("Rss: 1 kB\n").is_none());
    }
}
