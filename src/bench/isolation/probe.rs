//! The other caller: it picks and reports over one connection, and measures how long that takes.

use std::{
    io,
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    bench::{agent_process::service_name, http_client::post_expecting},
    clock,
};

/// The pause between two picks: a program with about 200 requests a second.
const PAUSE: Duration = Duration::from_millis(5);
/// A pick that takes longer counts as failed. Slow picks have a goal of their own, which a smoke run does
/// not judge because it shares its machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The picks of one period.
pub(super) struct PickStats {
    micros: Histogram<u64>,
    /// The picks without an answer, or with an error.
    pub(super) failed: u64,
}

impl PickStats {
    /// Picks for this time, or until `over` is set.
    pub(super) fn of(socket: &Path, lasts: Duration, over: &AtomicBool) -> io::Result<Self> {
        let longest = TIMEOUT.as_micros() as u64;
        let micros = Histogram::new_with_max(longest, 3).map_err(io::Error::other)?;
        let mut picks = Self { micros, failed: 0 };
        let mut connection = None;
        let begin = clock::now();
        // The agent may still read its source.
        while pick_and_report(socket, &mut connection).is_err() {
            connection = None;
            if clock::now() - begin > lasts + TIMEOUT {
                return Err(io::Error::other("not one pick was answered"));
            }
        }
        let begin = clock::now();
        while clock::now() - begin < lasts && !over.load(SeqCst) {
            let pick = clock::now();
            match pick_and_report(socket, &mut connection) {
                Ok(()) => picks.micros.saturating_record((clock::now() - pick).as_micros() as u64),
                Err(error) => {
                    eprintln!("a pick failed: {error}");
                    picks.failed += 1;
                    connection = None;
                }
            }
            thread::sleep(PAUSE);
        }
        Ok(picks)
    }

    /// The microseconds that this share of the picks did not exceed, pick and report together.
    pub(super) fn micros(&self, share: f64) -> f64 {
        self.micros.value_at_quantile(share) as f64
    }
}

fn pick_and_report(socket: &Path, connection: &mut Option<UnixStream>) -> io::Result<()> {
    if connection.is_none() {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        *connection = Some(stream);
    }
    let stream = connection.as_mut().ok_or_else(|| io::Error::other("no connection"))?;
    let pick = format!("{{\"service\":\"{}\"}}", service_name(0));
    let picked = post_expecting(stream, "/v1/pick", &pick, 200)?;
    let lease = picked.split("\"lease\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let lease = lease.ok_or_else(|| io::Error::other(picked.clone()))?;
    let report = format!("{{\"reports\":[{{\"lease\":\"{lease}\",\"outcome\":\"SUCCESS\"}}]}}");
    post_expecting(stream, "/v1/report", &report, 200).map(drop)
}
