//! The memory of an agent that knows very many services by name.

use std::{io, thread};

use super::{
    scale::SETTLE,
    server::Server,
    services::{Form, Services},
};
use crate::bench::{
    agent_process::AgentProcess,
    memory::MemoryUsage,
    report::{Goal, Row},
    temporary_folder::TemporaryFolder,
};

const RESIDENT_MIB: f64 = 16.0;

/// Starts a real agent on a control plane with so many services.
pub(super) fn memory(services: usize) -> io::Result<Vec<Row>> {
    let folder = TemporaryFolder::new()?;
    let written = Services::write(folder.join("services"), Form::Manifests, services - 1, 1)?;
    let server = Server::start(written.folder(), folder.join("log"))?;
    let agent = AgentProcess::start_from(
        TemporaryFolder::new()?,
        &format!("xds:{}", server.address()),
        None,
    )?;
    // A pick needs the names, so that they are there when it is answered.
    agent.pick_of(["large.bench".to_owned()])?;
    thread::sleep(SETTLE);
    let memory = MemoryUsage::of(agent.pid())?;
    let mib = |name: &str, kib: f64| Row::value(name, kib / 1024.0, "MiB");
    Ok(vec![
        mib("agent: resident", memory.resident).goal(Goal::value_at_most(RESIDENT_MIB)),
        mib("agent: anonymous", memory.anonymous),
    ])
}
