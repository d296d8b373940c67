//! The parent's handle of a calling process.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    os::fd::{AsRawFd, OwnedFd},
    process::{self, Child, Command, Stdio},
};

use super::message::{CallerResult, CallerSetup};

/// The path by which another process of this user can open a file of this process.
pub(super) fn path(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd())
}

/// A calling process. The descriptor of its counters stays open here until the process has opened them.
pub(super) struct CallerProcess {
    process: Child,
    _counters: OwnedFd,
}

impl CallerProcess {
    pub(super) fn start(setup: &CallerSetup, counters: OwnedFd) -> io::Result<Self> {
        let process = Command::new(env::current_exe()?)
            .args(["bench", "balance", "--caller"])
            .arg(serde_json::to_string(setup)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process, _counters: counters })
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.process.stdin.take().expect("it is piped").write_all(b"go\n")
    }

    pub(super) fn result(mut self) -> io::Result<CallerResult> {
        let mut line = String::new();
        BufReader::new(self.process.stdout.take().expect("it is piped")).read_line(&mut line)?;
        self.process.wait()?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}
