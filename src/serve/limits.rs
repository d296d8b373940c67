//! The bounds of requests, and their errors.
//!
//! Every bound is far above what makes sense and far below what would hurt. A request beyond it is a
//! mistake in the caller's code, and an error finds it sooner than a strange effect.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::error::Violation;
use crate::{catalog::Labels, leases};

/// Bytes of one request, in either protocol.
pub const MAX_REQUEST: usize = 1 << 20;
/// How long a request's body may take after its head, and a stream's message after its first byte. On
/// one machine a megabyte takes a millisecond.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a connection may take for its first request, over HTTP/1.1 for each later request, and
/// over HTTP/2 for a frame after its first byte. The usual time of servers (nginx: 75 s), which the
/// connection pools of clients cope with.
pub const WAIT_TIME: Duration = Duration::from_secs(75);
/// Requests of one HTTP/2 connection at a time.
pub const MAX_STREAMS: u32 = 256;
/// Bytes of a request's head, in HTTP/2 as its specification counts.
pub const MAX_HEAD: u32 = 16 << 10;
/// Bytes that one HTTP/2 stream may send before the agent reads them, and that the agent may write
/// before they are sent.
pub const STREAM_WINDOW: u32 = 16 << 10;
/// The same for all streams of a connection. h2 takes half as much for bookkeeping of short frames that
/// wait to be read, and ends a connection beyond that: enough for a window of a stream in messages of
/// 25 bytes, as a session's may be.
pub const CONNECTION_WINDOW: u32 = 512 << 10;
/// Bytes of memory for each unread byte on the wire, at worst: a frame of one byte has ten bytes on the
/// wire, and h2 keeps some 250 for it.
pub const UNREAD_FACTOR: usize = 26;
/// Bytes of answers that the kernel keeps for a caller that does not read. The kernel doubles this, and
/// charges it to the agent's control group.
pub const SEND_BUFFER: usize = 16 << 10;
/// Connections of all callers, as far as the system's limit on open files allows: 16 for each of a
/// node's 250 pods. One takes some 20 KiB, so that all take 80 MiB of the DaemonSet's 256.
pub const MAX_CONNECTIONS: usize = 4 << 10;
/// Connections of one caller. They take 20 MiB of the 96 MiB that the agent stays within, whatever one
/// caller does (`pointsman bench isolation`).
pub const MAX_CONNECTIONS_OF_ONE: usize = 1 << 10;
/// Refused connections that wait to be closed; one takes little but a file descriptor.
pub const MAX_REFUSED_CONNECTIONS: usize = 8 << 10;
/// Bytes of unfinished requests and unread answers of all callers. One caller may have 21.75 MiB of it,
/// enough for its sessions, with which the agent stays within the same 96.
pub const MAX_PENDING: usize = 29 << 20;
/// What a request of HTTP/2 takes until it is answered, beside its bytes: its task and h2's state.
/// Measured: 2 to 2.5 KiB.
pub const STREAM_BYTES: usize = 4 << 10;
/// Bytes of a request that [`STREAM_BYTES`] covers.
pub const SHORT_REQUEST: usize = 1 << 10;
/// Bytes that the agent may hold for a session beside the message it reads: the HTTP/2 window, and
/// answers that the caller did not read.
pub const SESSION_BYTES: usize = 24 << 10;
/// Sessions of all callers: one serves a whole process, of which a node has some hundreds.
pub const MAX_SESSIONS: usize = 1 << 10;
/// Watches of all callers, including those of gRPC's health. Each takes a few kilobytes, and some work
/// when its service changes.
pub const MAX_WATCHES: usize = 1 << 12;
/// Distinct endpoints of one pick.
pub const MAX_COUNT: u32 = 64;
/// The most cost of one request: requests in flight are summed in 32 bits.
pub const MAX_COST: u32 = 10_000;
/// Endpoints not to choose.
pub const MAX_EXCLUDE: usize = 256;
/// Labels to select by.
pub const MAX_SELECTOR: usize = 16;
/// Bytes of a label's name or value.
pub const MAX_LABEL: usize = 253;
/// Bytes of a hash key.
pub const MAX_HASH_KEY: usize = 4096;
/// The wait for a source's first answer, where the caller names none.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// The longest wait a caller may name.
pub const MAX_WAIT: Duration = Duration::from_secs(5);
/// The longest latency: a longer one is a mistake of units.
pub const MAX_LATENCY: Duration = Duration::from_secs(24 * 3600);
/// Reports in one batch.
pub const MAX_REPORTS: usize = 10_000;
/// Calls in one message of a session.
pub const MAX_SESSION_CALLS: usize = 1000;
/// Picks of one session that wait for a source at a time.
pub const MAX_SESSION_WAITING: usize = 256;

/// Half of the limit on open files. The other half is for tables, refused connections and the rest.
pub fn most_connections() -> usize {
    of_files(2).clamp(1, MAX_CONNECTIONS)
}

/// A quarter of the limit on open files.
pub fn most_refused_connections() -> usize {
    of_files(4).min(MAX_REFUSED_CONNECTIONS)
}

fn of_files(part: usize) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.map_or(usize::MAX, |files| files as usize / part)
}

/// The lesser of the caller's `wait` and its protocol's deadline.
pub(super) fn wait(asked: Option<Duration>, deadline: Option<Duration>) -> Duration {
    let asked = asked.unwrap_or(DEFAULT_WAIT);
    deadline.map_or(asked, |deadline| asked.min(deadline))
}

/// A duration from zero to `most`.
pub(super) fn duration(
    field: impl Fn() -> String,
    duration: Option<&pbjson_types::Duration>,
    most: Duration,
) -> Result<Option<Duration>, Violation> {
    let Some(&pbjson_types::Duration { seconds, nanos }) = duration else { return Ok(None) };
    if seconds < 0 || nanos < 0 {
        return Err(Violation::new(field(), "is negative: it must be 0s or more"));
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            let duration = Duration::new(seconds, nanos);
            if duration > most {
                let most = humantime::format_duration(most);
                return Err(Violation::new(
                    field(),
                    format!(
                        "is {}: it must be at most {most}",
                        humantime::format_duration(duration)
                    ),
                ));
            }
            Ok(Some(duration))
        }
        _ => Err(Violation::new(field(), "has more than 999999999 nanoseconds")),
    }
}

/// A lease's time to live, if the caller names one.
pub(super) fn lease_ttl(
    field: impl Fn() -> String,
    ttl: Option<&pbjson_types::Duration>,
) -> Result<Option<Duration>, Violation> {
    match duration(&field, ttl, leases::MAX_TTL)? {
        Some(Duration::ZERO) => {
            Err(Violation::new(field(), "is 0s: leave it out for 60s, or send at least 1ms"))
        }
        ttl => Ok(ttl),
    }
}

/// A number where 0 stands for 1.
pub(super) fn at_least_one(field: &str, number: u32, most: u32) -> Result<u32, Violation> {
    match number {
        0 => Ok(1),
        number if number <= most => Ok(number),
        number => Err(Violation::new(field, format!("is {number}: it must be at most {most}"))),
    }
}

/// The endpoints not to choose.
pub(super) fn exclude(texts: &[String]) -> Result<Vec<SocketAddr>, Violation> {
    if texts.len() > MAX_EXCLUDE {
        let wrong = format!("has {} entries: it may have at most {MAX_EXCLUDE}", texts.len());
        return Err(Violation::new("exclude", wrong));
    }
    let parse = |(index, text): (usize, &String)| {
        text.parse().map_err(|_| {
            Violation::new(
                format!("exclude[{index}]"),
                format!("{} is not ip:port, such as 10.1.2.3:8080 or [fd00::1]:8080", quoted(text)),
            )
        })
    };
    texts.iter().enumerate().map(parse).collect()
}

/// The labels to select by.
pub(super) fn selector<'a>(
    entries: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<Labels, Violation> {
    if entries.len() > MAX_SELECTOR {
        let wrong = format!("has {} labels: it may have at most {MAX_SELECTOR}", entries.len());
        return Err(Violation::new("selector", wrong));
    }
    let mut labels = Labels::new();
    for (key, value) in entries {
        if key.is_empty() {
            return Err(Violation::new("selector", "has a label without a name"));
        }
        if key.len() > MAX_LABEL || value.len() > MAX_LABEL {
            let wrong = format!(
                "label {}: it and its value may have at most {MAX_LABEL} bytes each",
                quoted(key)
            );
            return Err(Violation::new("selector", wrong));
        }
        labels.insert(Arc::from(key.as_str()), Arc::from(value.as_str()));
    }
    Ok(labels)
}

/// A caller's text in an error: quoted, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(seconds: i64, nanos: i32) -> Option<pbjson_types::Duration> {
        Some(pbjson_types::Duration { seconds, nanos })
    }

    fn field() -> String {
        "wait".to_owned()
    }

    #[test]
    fn a_duration_is_neither_negative_nor_endless() {
        let check = |seconds, nanos| duration(field, given(seconds, nanos).as_ref(), MAX_WAIT);
        assert_eq!(check(0, 30_000_000), Ok(Some(Duration::from_millis(30))));
        assert_eq!(check(5, 0), Ok(Some(MAX_WAIT)));
        assert_eq!(check(-1, 0).unwrap_err().wrong, "is negative: it must be 0s or more");
        assert!(check(0, -1).unwrap_err().wrong.contains("negative"));
        assert_eq!(check(6, 0).unwrap_err().wrong, "is 6s: it must be at most 5s");
        assert!(check(i64::MAX, 999_999_999).unwrap_err().wrong.contains("at most 5s"));
        assert!(check(0, 1_000_000_000).unwrap_err().wrong.contains("nanoseconds"));
    }

    #[test]
    fn a_lease_lives_an_hour_at_most_and_none_lives_no_time() {
        assert_eq!(lease_ttl(field, None), Ok(None));
        assert_eq!(lease_ttl(field, given(3600, 0).as_ref()), Ok(Some(leases::MAX_TTL)));
        assert!(
            lease_ttl(field, given(3601, 0).as_ref()).unwrap_err().wrong.contains("at most 1h")
        );
        assert!(lease_ttl(field, given(0, 0).as_ref()).is_err());
    }

    #[test]
    fn zero_is_one_and_absurd_is_refused() {
        assert_eq!(at_least_one("count", 0, MAX_COUNT), Ok(1));
        assert_eq!(at_least_one("count", 64, MAX_COUNT), Ok(64));
        let wrong = at_least_one("count", u32::MAX, MAX_COUNT).unwrap_err().wrong;
        assert_eq!(wrong, "is 4294967295: it must be at most 64");
    }

    #[test]
    fn an_excluded_endpoint_is_an_address_and_a_port() {
        let texts = ["10.0.0.1:80", "[::1]:80"].map(str::to_owned);
        assert_eq!(exclude(&texts).unwrap().len(), 2);
        for text in ["10.0.0.1", "cart:80", "", &"x".repeat(10_000)] {
            let wrong = exclude(&["10.0.0.1:80".to_owned(), text.to_owned()]).unwrap_err();
            assert_eq!(wrong.field, "exclude[1]");
            assert!(wrong.wrong.contains("10.1.2.3:8080") && wrong.wrong.len() < 200, "{wrong:?}");
        }
    }
}
