//! The memory of an agent that knows very many services by name.

use std::{io, thread};

use super::{SETTLE, pods, server::Server};
use crate::bench::{
    agent_process::AgentProcess,
    report::{Goal, Row},
    resident,
    temporary_folder::TemporaryFolder,
};

const RESIDENT_MIB: f64 = 16.0;

/// Starts a real agent on a control plane with so many services.
pub(super) fn memory(services: usize) -> io::Result<Row> {
    let folder = TemporaryFolder::new()?;
    let source = folder.join("services");
    std::fs::create_dir(&source)?;
    pods::write_small(&source, services)?;
    let server = Server::start(&source, folder.join("log"))?;
    let agent = AgentProcess::start_from(
        TemporaryFolder::new()?,
        &format!("xds:{}", server.address()),
        None,
    )?;
    // A pick needs the names, so that they are there when it is answered.
    agent.pick_of([format!("s{}.bench", services - 1)])?;
    thread::sleep(SETTLE);
    let resident = resident::resident_mib(agent.pid())?;
    Ok(Row::value(format!("an agent that knows {services} services by name"), resident, "MiB")
        .goal(Goal::value_at_most(RESIDENT_MIB)))
}
