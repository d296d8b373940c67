//! Measures one control plane: with one agent, then with all.

use std::{io, path::Path, thread, time::Duration};

use hdrhistogram::Histogram;

use super::{
    client::Plan,
    fleet::Fleet,
    scale::{FOLLOWED, SETTLE, Scale},
    server::Server,
    services::{Form, STEPS_PER_POD, Services},
};
use crate::{
    bench::{resident, thread_usage::process_time},
    clock,
};

/// Changes a second: 1,000 pods restart in 300 s, each makes three changes, and no change waits for another.
pub(super) const STEPS_PER_SECOND: f64 = 10.0;
/// One agent in this many decodes what it gets.
const DECODES: usize = 50;
/// The pause before each single change. Our control plane reads a folder when it has been quiet for 50 ms.
const PAUSE: Duration = Duration::from_millis(200);
/// The part of the restart that is measured with one agent.
const PART_ALONE: f64 = 0.25;

/// What was measured. Times are in microseconds, memory is in MiB, bytes are those of one agent.
pub(super) struct Measured {
    pub(super) single_alone: Histogram<u64>,
    pub(super) single: Histogram<u64>,
    pub(super) restart_alone: Restart,
    pub(super) restart: Restart,
    pub(super) removals: Histogram<u64>,
    pub(super) first_start: f64,
    pub(super) moved: f64,
    pub(super) resident_alone: f64,
    pub(super) resident: f64,
}

/// What a rolling restart cost.
pub(super) struct Restart {
    pub(super) steps: usize,
    length: Duration,
    /// Processor time of the control plane, and of this process.
    server: Duration,
    own: Duration,
    /// Received by all agents.
    pub(super) bytes: u64,
    /// The steps that removed a pod, and when each was written.
    removals: Vec<(usize, Duration)>,
}

impl Restart {
    /// In percent.
    pub(super) fn server_share_of_a_core(&self) -> f64 {
        100.0 * self.server.as_secs_f64() / self.length.as_secs_f64()
    }

    /// In percent.
    pub(super) fn own_share_of_a_core(&self) -> f64 {
        100.0 * self.own.as_secs_f64() / self.length.as_secs_f64()
    }
}

/// Measures the control plane that `start` starts on a folder, with the name of its log.
pub(super) fn measure(
    scale: &Scale,
    form: Form,
    folder: &Path,
    start: impl Fn(&Path, &str) -> io::Result<Server>,
) -> io::Result<Measured> {
    let small = scale.services - 1;
    let mut services = Services::write(folder.join("services"), form, small, scale.pods)?;
    let server = start(services.folder(), "first.log")?;
    let names = form == Form::Manifests;
    let plan = Plan { followed: FOLLOWED, small, pods: scale.pods, names, decodes: DECODES };
    let mut fleet = Fleet::new(server.address(), plan)?;

    fleet.grow_to(1)?;
    thread::sleep(SETTLE);
    let resident_alone = resident::resident_mib(server.pid())?;
    let single_alone = single_changes(scale.single, &mut fleet, &mut services)?;
    let restart_alone = restart(scale.length * PART_ALONE, &mut fleet, &mut services, &server)?;

    let first_start = fleet.grow_to(scale.agents)? as f64 / (scale.agents - 1) as f64;
    thread::sleep(SETTLE);
    let resident = resident::resident_mib(server.pid())?;
    let single = single_changes(scale.single, &mut fleet, &mut services)?;
    let restart = restart(scale.length, &mut fleet, &mut services, &server)?;
    let removals = fleet.receipts.delays(&restart.removals);

    let other = start(services.folder(), "second.log")?;
    let moved = fleet.move_to(other.address())? as f64 / scale.agents as f64;
    services.step()?;
    fleet.wait_for_steps(services.steps())?;
    Ok(Measured {
        single_alone,
        single,
        restart_alone,
        restart,
        removals,
        first_start,
        moved,
        resident_alone,
        resident,
    })
}

/// Makes changes, each when all agents have the one before.
fn single_changes(
    count: usize,
    fleet: &mut Fleet,
    services: &mut Services,
) -> io::Result<Histogram<u64>> {
    let mut written = Vec::with_capacity(count);
    for _ in 0..count {
        fleet.watch_for(PAUSE)?;
        services.step()?;
        written.push((services.steps(), clock::now()));
        fleet.wait_for_steps(services.steps())?;
    }
    Ok(fleet.receipts.delays(&written))
}

/// Restarts pods for so many seconds.
fn restart(
    seconds: f64,
    fleet: &mut Fleet,
    services: &mut Services,
    server: &Server,
) -> io::Result<Restart> {
    let steps = (seconds * STEPS_PER_SECOND) as usize;
    let own_pid = std::process::id();
    let (server_before, own_before) = (process_time(server.pid())?, process_time(own_pid)?);
    let (bytes, begin) = (fleet.received(), clock::now());
    let mut removals = Vec::new();
    for step in 0..steps {
        let at = begin + Duration::from_secs_f64(step as f64 / STEPS_PER_SECOND);
        fleet.watch_for(at.saturating_sub(clock::now()))?;
        services.step()?;
        if services.steps().is_multiple_of(STEPS_PER_POD) {
            removals.push((services.steps(), clock::now()));
        }
    }
    fleet.wait_for_steps(services.steps())?;
    Ok(Restart {
        steps,
        length: clock::now() - begin,
        server: process_time(server.pid())? - server_before,
        own: process_time(own_pid)? - own_before,
        bytes: fleet.received() - bytes,
        removals,
    })
}
