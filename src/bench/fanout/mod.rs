//! What a control plane costs with many agents, and how soon a change is at all of them.
//!
//! `pointsman control-plane` runs as a child process and reads files. The agents are streams from this
//! process, which speak as our agents do. Each follows 50 services, and all follow one of 1,000 endpoints.
//! The floors are the same with one agent: the rest of a figure is the others' part.
//!
//! - `services`: what is published, and how it changes; `server`: the control plane
//! - `fleet`: the agents together; `client`: one of them; `counted_io`: the bytes that they receive
//! - `large`: what a client has of the large service
//! - `receipts`: when each agent had each state; `measured`: the measurement of one control plane
//! - `scale`: how much is measured; `named`: the memory of a real agent

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use hdrhistogram::Histogram;

use self::{
    measured::{Measured, STEPS_PER_SECOND, measure},
    scale::Scale,
    server::Server,
    services::{Form, JSON, STEPS_PER_POD},
};
use super::{
    report::{Goal, Report, Row},
    temporary_folder::TemporaryFolder,
};

mod client;
mod counted_io;
mod fleet;
mod large;
mod measured;
mod named;
mod receipts;
mod scale;
mod server;
mod services;

/// The services of which a real agent knows the names.
const NAMED: usize = 10_000;
/// The changes that are made one at a time.
const SINGLE: usize = 30;
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
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(2..))]
    agents: u16,
    /// The number of services, of which one is large.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(51..))]
    services: u16,
    /// The pods of the large service.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pods: u16,
    /// Seconds of the rolling restart, at the rate of 1,000 pods in 300 s. The bytes are given for all pods.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The program of tests/xds/go-control-plane, which is measured with the same services.
    #[arg(long, value_name = "PROGRAM")]
    go_control_plane: Option<PathBuf>,
}

/// Measures our control plane, and another one beside it.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let scale = match smoke {
        true => Scale { agents: 20, services: 60, pods: 120, single: 3, length: 2.0 },
        false => Scale {
            agents: args.agents.into(),
            services: args.services.into(),
            pods: args.pods.into(),
            single: SINGLE,
            length: args.seconds as f64,
        },
    };
    let named = if smoke { NAMED / 100 } else { NAMED };
    let mut report = Report::default();
    let folder = TemporaryFolder::new()?;
    let ours = measure(&scale, Form::Manifests, &folder, |source, log| {
        Server::start(source, folder.join(log))
    })?;
    add_sections(&mut report, &scale, &ours);
    report.section(
        format!("Memory of an agent that knows {named} services by name, from a control plane"),
        named::memory(named)?,
    );
    if let Some(program) = &args.go_control_plane {
        let folder = TemporaryFolder::new()?;
        let theirs = measure(&scale, Form::Json, &folder, |source, log| {
            start_go_control_plane(program, source, folder.join(log))
        })?;
        add_comparison(&mut report, &scale, &theirs, &ours);
    }
    Ok(report)
}

fn start_go_control_plane(program: &Path, source: &Path, log: PathBuf) -> io::Result<Server> {
    let mut command = Command::new(program);
    command.arg("127.0.0.1:0").arg(source.join(JSON));
    Server::spawn(command, log, "listening ")
}

fn ms(delays: &Histogram<u64>, quantile: f64) -> f64 {
    delays.value_at_quantile(quantile) as f64 / 1e3
}

/// The bytes that an agent receives while all pods restart, in MB.
fn restart_mb(scale: &Scale, measured: &Measured) -> f64 {
    let all = (scale.pods * STEPS_PER_POD) as f64 / measured.restart.steps as f64;
    measured.restart.bytes as f64 / 1e6 / scale.agents as f64 * all
}

fn kib_a_stream(scale: &Scale, measured: &Measured) -> f64 {
    (measured.resident - measured.resident_alone) * 1024.0 / (scale.agents - 1) as f64
}

fn add_sections(report: &mut Report, scale: &Scale, ours: &Measured) {
    let Scale { agents, services, pods, .. } = scale;
    let single = |name: &str, quantile| {
        Row::value(name, ms(&ours.single, quantile), "ms").over(ms(&ours.single_alone, quantile))
    };
    let section = report.section(
        format!("One change of a service of {pods} endpoints, until {agents} agents have it"),
        vec![
            single("single change: p50", 0.5),
            single("single change: p99", 0.99).goal(Goal::value_at_most(SINGLE_P99_MS)),
        ],
    );
    section.notes.push("The floor is one agent. The control plane waits for 50 ms of it".into());
    section.notes.push("until the folder is quiet.".into());

    let restart = &ours.restart;
    let section = report.section(
        format!(
            "A rolling restart of its pods, {STEPS_PER_SECOND} changes a second, {} in all",
            restart.steps
        ),
        vec![
            Row::value(
                "received by an agent while all pods restart",
                restart_mb(scale, ours),
                "MB",
            )
            .goal(Goal::value_at_most(RESTART_MB)),
            Row::value("control plane: share of a core", restart.server_share_of_a_core(), "%")
                .over(ours.restart_alone.server_share_of_a_core())
                .goal(Goal::value_at_most(ONE_CORE)),
            Row::value("a removal at an agent: p50", ms(&ours.removals, 0.5), "ms"),
            Row::value("a removal at an agent: p99", ms(&ours.removals, 0.99), "ms")
                .goal(Goal::value_at_most(REMOVAL_P99_MS)),
            Row::value("all agents: share of a core", restart.own_share_of_a_core(), "%"),
        ],
    );
    section.notes.push("The floor is the control plane with one agent: it reads the same.".into());

    let moved = Row::value("received by an agent that moves", ours.moved / 1e3, "KB")
        .over(ours.first_start / 1e3)
        .goal(Goal::ratio_at_most(MOVED));
    let section = report.section("All agents move to another control plane", vec![moved]);
    section.notes.push("The floor is an agent's first start.".into());

    report.section(
        format!("Memory of the control plane, {services} services, {} pods", services - 1 + pods),
        vec![
            Row::value("with one agent: resident", ours.resident_alone, "MiB"),
            Row::value(format!("with {agents} agents: resident"), ours.resident, "MiB")
                .goal(Goal::value_at_most(RESIDENT_MIB)),
            Row::value("a stream", kib_a_stream(scale, ours), "KiB")
                .goal(Goal::value_at_most(STREAM_KIB)),
        ],
    );
}

fn add_comparison(report: &mut Report, scale: &Scale, theirs: &Measured, ours: &Measured) {
    let row = |name: &str, unit, of: &dyn Fn(&Measured) -> f64| {
        Row::value(name, of(theirs), unit).over(of(ours))
    };
    let section = report.section(
        "go-control-plane's LinearCache with the same services",
        vec![
            row("single change: p50", "ms", &|it| ms(&it.single, 0.5)),
            row("single change: p99", "ms", &|it| ms(&it.single, 0.99)),
            row("single change, one agent: p50", "ms", &|it| ms(&it.single_alone, 0.5)),
            row("received by an agent while all pods restart", "MB", &|it| restart_mb(scale, it)),
            row("share of a core", "%", &|it| it.restart.server_share_of_a_core()),
            row("share of a core, one agent", "%", &|it| it.restart_alone.server_share_of_a_core()),
            row("a removal at an agent: p99", "ms", &|it| ms(&it.removals, 0.99)),
            row("received by an agent that starts", "KB", &|it| it.first_start / 1e3),
            row("received by an agent that moves", "KB", &|it| it.moved / 1e3),
            row("resident", "MiB", &|it| it.resident),
            row("a stream", "KiB", &|it| kib_a_stream(scale, it)),
        ],
    );
    let notes = &mut section.notes;
    notes.push(
        "The floors are our figures. Its endpoints have no node and no pod, so that an".into(),
    );
    notes.push("assignment is shorter. It looks for a changed file every 20 ms.".into());
}
