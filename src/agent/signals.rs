//! What a person or a service manager tells by signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// The signals that mean something.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on they are told, and no longer end the process by themselves.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) -> Told {
        let (told, name) = tokio::select! {
            _ = self.terminate.recv() => (Told::End, "SIGTERM"),
            _ = self.interrupt.recv() => (Told::End, "SIGINT"),
            _ = self.hang_up.recv() => return Told::Reload,
        };
        info!(signal = name, "ending: no more calls are taken, those under way may finish");
        told
    }

    /// The next that says to end.
    pub async fn end(&mut self) {
        while self.next().await != Told::End {}
    }

    /// Told to end twice, of which `told` may have been the first, the process ends where it stands.
    pub fn then_at_once(mut self, told: bool) {
        tokio::spawn(async move {
            if !told {
                self.end().await;
            }
            self.end().await;
            warn!("told to end twice: ending at once");
            std::process::exit(1);
        });
    }
}
