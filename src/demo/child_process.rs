//! The demo's child processes. Each runs this program with `--part`. None outlives the demo, even if the
//! demo is killed.

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{ExitCode, Stdio},
};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use super::message::{ChildMessage, ParentMessage};

/// A child that receives and sends messages.
pub(crate) struct ChildProcess {
    /// Drop kills it.
    _child: Child,
    input: ChildStdin,
}

impl ChildProcess {
    /// Starts a part with its setup. Its messages go to `messages`, with `number`. `None` marks their end.
    pub(crate) async fn start<T: Serialize>(
        part: &str,
        setup: &T,
        number: usize,
        messages: mpsc::UnboundedSender<(usize, Option<ChildMessage>)>,
    ) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["demo", "--part", part]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::Error::other("a child without pipes"));
        };
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(line) => _ = messages.send((number, Some(line))),
                    Err(error) => eprintln!("a child's line: {error}: {line}"),
                }
            }
            // The receiver is gone at the end of the demo.
            _ = messages.send((number, None));
        });
        let mut child = Self { _child: child, input };
        child.write(setup).await?;
        Ok(child)
    }

    pub(crate) async fn send(&mut self, message: &ParentMessage) -> io::Result<()> {
        self.write(message).await
    }

    async fn write<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.input.write_all(&line).await
    }
}

/// Starts the agent of a zone. It is an ordinary agent that does not know the demo.
pub(crate) fn agent(services: &Path, socket: &Path, zone: &str, log: &Path) -> io::Result<Child> {
    let log = std::fs::File::create(log)?;
    Command::new(env::current_exe()?)
        .args(["demo", "--part", "agent", "--"])
        .arg("agent")
        .arg(format!("--source=file:{}", services.display()))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--zone={zone}"))
        .arg("--admin=127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

/// In a child, before anything else: makes it end when the demo ends for any reason.
pub(crate) fn exit_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// In the child that becomes an agent. `exec` keeps the tie to the parent.
pub(crate) fn become_agent(arguments: &[String]) -> ExitCode {
    let failed = env::current_exe()
        .map(|program| std::process::Command::new(program).args(arguments).exec())
        .unwrap_or_else(|error| error);
    eprintln!("agent: {failed}");
    ExitCode::from(2)
}
