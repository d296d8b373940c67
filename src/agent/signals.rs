//! SIGTERM, SIGINT and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
}

/// The signals that the agent handles.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Installs the handlers: from here on the signals no longer end the process by themselves.
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

    /// Waits for the next signal.
    pub async fn next(&mut self) -> SignalAction {
        let (action, name) = tokio::select! {
            _ = self.terminate.recv() => (SignalAction::Terminate, "SIGTERM"),
            _ = self.interrupt.recv() => (SignalAction::Terminate, "SIGINT"),
            _ = self.hang_up.recv() => return SignalAction::Reload,
        };
        info!(signal = name, "ending: nothing new is taken");
        action
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn terminated(&mut self) {
        while self.next().await != SignalAction::Terminate {}
    }

    /// Ends the process at once at the second SIGTERM or SIGINT. `first_received`: the first has come.
    pub fn exit_on_second(mut self, first_received: bool) {
        tokio::spawn(async move {
            if !first_received {
                self.terminated().await;
            }
            self.terminated().await;
            warn!("second signal to end: ending at once");
            std::process::exit(1);
        });
    }
}
