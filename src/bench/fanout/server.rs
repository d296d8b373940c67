//! A control plane as a child process, which reads a folder and listens on loopback.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::clock;

/// How long it may take to read its files and to listen.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running control plane. Drop kills it.
pub(super) struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `pointsman control-plane` with this folder as its source. Its log is this file.
    pub(super) fn start(source: &Path, log: PathBuf) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("control-plane")
            .arg(format!("--source=file:{}", source.display()))
            .args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]);
        Self::spawn(command, log, "listen=")
    }

    /// Starts a program that prints its address behind this text once it listens.
    pub(super) fn spawn(mut command: Command, log: PathBuf, before: &str) -> io::Result<Self> {
        let to = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(to.try_clone()?).stderr(to);
        // The address is a guess until the log has it.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { process: command.spawn()?, address };
        server.address = server.wait_for_address(&log, before)?;
        Ok(server)
    }

    fn wait_for_address(&mut self, log: &Path, before: &str) -> io::Result<SocketAddr> {
        let start = clock::now();
        loop {
            let ended = self.process.try_wait()?.is_some();
            let said = fs::read_to_string(log)?;
            let address = said.split(before).nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(Ok(address)) = address.map(str::parse) {
                return Ok(address);
            }
            if ended || clock::now() - start > TIMEOUT {
                return Err(io::Error::other(format!("the control plane did not start:\n{said}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already. There is nothing to do about an error.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
