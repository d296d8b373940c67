//! The demo's child processes: this program again, in a part of its own. None outlives the demo,
//! not even one that is killed.

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

use super::message::{News, Order};

/// A child that takes orders and has news.
pub(crate) struct Player {
    /// Killed when dropped.
    _child: Child,
    input: ChildStdin,
}

impl Player {
    /// Starts a part with its setup; its news come through `news` with `number`, None at their end.
    pub(crate) async fn start<T: Serialize>(
        part: &str,
        setup: &T,
        number: usize,
        news: mpsc::UnboundedSender<(usize, Option<News>)>,
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
                    Ok(line) => _ = news.send((number, Some(line))),
                    Err(error) => eprintln!("a child's line: {error}: {line}"),
                }
            }
            // The demo no longer listens when it is over.
            _ = news.send((number, None));
        });
        let mut player = Self { _child: child, input };
        player.write(setup).await?;
        Ok(player)
    }

    pub(crate) async fn order(&mut self, order: &Order) -> io::Result<()> {
        self.write(order).await
    }

    async fn write<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.input.write_all(&line).await
    }
}

/// Starts the real agent of a zone. It knows nothing of the demo.
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

/// In the child, before all else: it ends when the demo does, however that happens.
pub(crate) fn tie_to_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// In the child that becomes an agent: the tie holds over `exec`.
pub(crate) fn become_agent(arguments: &[String]) -> ExitCode {
    let failed = env::current_exe()
        .map(|program| std::process::Command::new(program).args(arguments).exec())
        .unwrap_or_else(|error| error);
    eprintln!("agent: {failed}");
    ExitCode::from(2)
}
