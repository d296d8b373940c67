//! Notifies the service manager (systemd), if there is one: `$NOTIFY_SOCKET`.

use sd_notify::NotifyState;
use tracing::warn;

/// Every source has answered, and the socket takes calls.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again. [`ready`] ends the reload.
pub fn reloading() {
    // systemd needs the time to tell two reloads apart.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the time for the service manager could not be read"),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process serves from now on.
pub fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Notifies the watchdog twice in each of its periods. Never returns. It runs on the threads that answer
/// calls, so that it stops when they hang.
pub async fn watchdog() {
    let Some(at_most) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(at_most / 2).await;
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "the service manager could not be notified");
    }
}
