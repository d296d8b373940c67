//! What a control plane costs with many agents, and how soon a change is at all of them.
//!
//! `pointsman control-plane` runs as a child process and reads files. The agents are streams from this
//! process, which speak as our agents do. Each follows 50 services, and all follow one of 1,000 endpoints.
//! The floors are the same with one agent: the rest of a figure is the others' part.
//!
//! - `pods`: what is published, and how it changes; `server`: the control plane
//! - `fleet`: the agents together; `client`: one of them; `counted_io`: the bytes that they receive
//! - `receipts`: when each agent had each state; `named`: the memory of a real agent

use std::{io, path::Path, thread, time::Duration};

use self::{client::Plan, fleet::Fleet, pods::Pods, server::Server};
use super::{
    report::{Goal, Report, Row},
    resident,
    temporary_folder::TemporaryFolder,
    thread_usage::process_time,
};
use crate::clock;

mod client;
mod counted_io;
mod fleet;
mod named;
mod pods;
mod receipts;
mod server;

/// Pods that restart in a second: 1,000 in 300 s. Each makes three changes, and no change waits for another.
const STEPS_PER_SECOND: f64 = 10.0;
/// The services that each agent follows.
const FOLLOWED: usize = 50;
/// One agent in this many decodes what it gets.
const DECODES: usize = 50;
/// The services of which a real agent knows the names.
const NAMED: usize = 10_000;
/// The changes that are made one at a time, and the pause before each: the file's reader waits until a
/// folder is quiet.
const SINGLE: usize = 30;
const PAUSE: Duration = Duration::from_millis(200);
/// The time until memory that only the start needed is freed.
const SETTLE: Duration = Duration::from_secs(3);

// The goals.
const SINGLE_P99_MS: f64 = 150.0;
const RESTART_MB: f64 = 20.0;
const ONE_CORE: f64 = 100.0;
const REMOVAL_P99_MS: f64 = 1000.0;
const MOVED: f64 = 0.05;
const RESIDENT_MIB: f64 = 150.0;
const STREAM_KIB: f64 = 100.0;

/// Arguments of `pointsman bench fanout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of agents.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// The number of services, of which one is large.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(51..))]
    services: u16,
    /// The pods of the large service.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pods: u16,
    /// Seconds of the rolling restart, at the rate of 1,000 pods in 300 s. The bytes are given for all pods.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs a control plane with one agent, then with all.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let named = named::memory(if smoke { NAMED / 100 } else { NAMED })?;
    let scale = match smoke {
        true => Scale { agents: 20, services: 60, pods: 120, single: 3, length: 2.0 },
        false => Scale {
            agents: args.agents,
            services: args.services.into(),
            pods: args.pods.into(),
            single: SINGLE,
            length: args.seconds as f64,
        },
    };
    let mut report = scale.measure()?;
    report.section("Memory of an agent that follows a control plane", vec![named]);
    Ok(report)
}

struct Scale {
    agents: usize,
    services: usize,
    pods: usize,
    single: usize,
    /// Of the restart, in seconds.
    length: f64,
}

/// What a rolling restart cost.
struct Restart {
    steps: usize,
    length: Duration,
    /// Processor time, of the control plane and of this process.
    server: Duration,
    own: Duration,
    /// Of all agents.
    bytes: u64,
    /// The steps that removed a pod, and when each was written.
    removals: Vec<(usize, Duration)>,
}

impl Scale {
    fn measure(&self) -> io::Result<Report> {
        let folder = TemporaryFolder::new()?;
        let source = folder.join("services");
        std::fs::create_dir(&source)?;
        pods::write_small(&source, self.services - 1)?;
        let mut pods = Pods::new(self.pods);
        pods.write(&source)?;
        let server = Server::start(&source, folder.join("first.log"))?;
        let plan = Plan {
            followed: FOLLOWED,
            small: self.services - 1,
            pods: self.pods,
            names: true,
            decodes: DECODES,
        };
        let mut fleet = Fleet::new(server.address(), plan)?;

        fleet.grow_to(1)?;
        thread::sleep(SETTLE);
        let empty = resident::resident_mib(server.pid())?;
        let alone = self.single_changes(&mut fleet, &mut pods, &source)?;
        let alone = fleet.receipts.delays(&alone);
        let restart_alone = self.restart(&mut fleet, &mut pods, &source, &server, 0.25)?;

        let first_start = fleet.grow_to(self.agents)?;
        let first_start = first_start as f64 / (self.agents - 1) as f64;
        thread::sleep(SETTLE);
        let resident = resident::resident_mib(server.pid())?;
        let single = self.single_changes(&mut fleet, &mut pods, &source)?;
        let single = fleet.receipts.delays(&single);
        let restart = self.restart(&mut fleet, &mut pods, &source, &server, 1.0)?;
        let removals = fleet.receipts.delays(&restart.removals);

        let other = Server::start(&source, folder.join("second.log"))?;
        let moved = fleet.move_to(other.address())? as f64 / self.agents as f64;

        let mut report = Report::default();
        let Self { agents, services, pods, .. } = self;
        let ms = |delays: &hdrhistogram::Histogram<u64>, quantile| {
            delays.value_at_quantile(quantile) as f64 / 1e3
        };
        report
            .section(
                format!("One change of the service of {pods} endpoints, until {agents} agents have it"),
                vec![
                    Row::value("single change: p50", ms(&single, 0.5), "ms").over(ms(&alone, 0.5)),
                    Row::value("single change: p99", ms(&single, 0.99), "ms")
                        .over(ms(&alone, 0.99))
                        .goal(Goal::value_at_most(SINGLE_P99_MS)),
                ],
            )
            .notes
            .push("50 ms of it the reader waits until the folder is quiet.".into());
        let all_pods = (pods * pods::STEPS_PER_POD) as f64 / restart.steps as f64;
        let mb = restart.bytes as f64 / 1e6 / *agents as f64 * all_pods;
        let core = |time: Duration, length: Duration| 100.0 * time.as_secs_f64() / length.as_secs_f64();
        let core_alone = core(restart_alone.server, restart_alone.length);
        report
            .section(
                format!(
                    "A rolling restart of the {pods} pods at {STEPS_PER_SECOND} changes a second, of which {} \
                     were made",
                    restart.steps
                ),
                vec![
                    Row::value("received by an agent, for all pods", mb, "MB")
                        .goal(Goal::value_at_most(RESTART_MB)),
                    Row::value("control plane: share of a core", core(restart.server, restart.length), "%")
                        .over(core_alone)
                        .goal(Goal::value_at_most(ONE_CORE)),
                    Row::value("removal at an agent: p50", ms(&removals, 0.5), "ms"),
                    Row::value("removal at an agent: p99", ms(&removals, 0.99), "ms")
                        .goal(Goal::value_at_most(REMOVAL_P99_MS)),
                    Row::value("the agents here: share of a core", core(restart.own, restart.length), "%"),
                ],
            )
            .notes
            .push("The floor is the control plane with one agent, which reads the same files.".into());
        report.section(
            "All agents move to another control plane",
            vec![
                Row::value("received by an agent", moved / 1e3, "KB")
                    .over(first_start / 1e3)
                    .goal(Goal::ratio_at_most(MOVED)),
            ],
        ).notes.push("The floor is an agent's first start.".into());
        let per_stream = (resident - empty) * 1024.0 / (agents - 1) as f64;
        report.section(
            format!("Memory of the control plane, {services} services, {} pods", services - 1 + pods),
            vec![
                Row::value("with one agent: resident", empty, "MiB"),
                Row::value(format!("with {agents} agents: resident"), resident, "MiB")
                    .goal(Goal::value_at_most(RESIDENT_MIB)),
                Row::value("a stream", per_stream, "KiB").goal(Goal::value_at_most(STREAM_KIB)),
            ],
        );
        Ok(report)
    }

    /// Makes changes, each when all agents have the one before. Returns when each was written.
    fn single_changes(
        &self,
        fleet: &mut Fleet,
        pods: &mut Pods,
        source: &Path,
    ) -> io::Result<Vec<(usize, Duration)>> {
        let mut written = Vec::new();
        for _ in 0..self.single {
            fleet.watch_for(PAUSE)?;
            pods.step(source)?;
            written.push((pods.steps(), clock::now()));
            fleet.wait_for_steps(pods.steps())?;
        }
        Ok(written)
    }

    /// Restarts pods for this part of the length.
    fn restart(
        &self,
        fleet: &mut Fleet,
        pods: &mut Pods,
        source: &Path,
        server: &Server,
        part: f64,
    ) -> io::Result<Restart> {
        let steps = (self.length * part * STEPS_PER_SECOND) as usize;
        let own_pid = std::process::id();
        let (server_before, own_before) = (process_time(server.pid())?, process_time(own_pid)?);
        let (bytes, begin) = (fleet.received(), clock::now());
        let mut removals = Vec::new();
        for step in 0..steps {
            let at = begin + Duration::from_secs_f64(step as f64 / STEPS_PER_SECOND);
            fleet.watch_for(at.saturating_sub(clock::now()))?;
            pods.step(source)?;
            if pods.steps().is_multiple_of(pods::STEPS_PER_POD) {
                removals.push((pods.steps(), clock::now()));
            }
        }
        fleet.wait_for_steps(pods.steps())?;
        let length = clock::now() - begin;
        Ok(Restart {
            steps,
            length,
            server: process_time(server.pid())? - server_before,
            own: process_time(own_pid)? - own_before,
            bytes: fleet.received() - bytes,
            removals,
        })
    }
}
