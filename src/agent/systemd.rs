//! What a service manager (systemd) is told, where there is one: `$NOTIFY_SOCKET`.

use sd_notify::NotifyState;
use tracing::warn;

/// Every source has answered, and the socket takes calls.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] says that it has been.
pub fn reloading() {
    // It tells this from an earlier reload by the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "no time to tell the service manager"),
    }
}

/// The agent is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process serves from now on.
pub fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Says that calls are still answered, twice in each time that it may take, for ever: run it
/// where they are.
pub async fn watchdog() {
    let Some(at_most) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(at_most / 2).await;
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "the service manager could not be told");
    }
}
