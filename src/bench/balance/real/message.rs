//! The messages between callers and servers, and between the parent and callers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A request. The answer is the same message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Message {
    /// The caller's number of the request.
    pub(super) id: u32,
    /// How long a normal server takes for it.
    pub(super) work: Duration,
}

impl Message {
    pub(super) const BYTES: usize = 12;

    pub(super) fn write(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4..].copy_from_slice(&(self.work.as_nanos() as u64).to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (id, work) = bytes.split_first_chunk::<4>()?;
        let work = u64::from_le_bytes(work.try_into().ok()?);
        Some(Self { id: u32::from_le_bytes(*id), work: Duration::from_nanos(work) })
    }
}

/// What a caller has to do. It is an argument of its process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CallerSetup {
    /// The path of the table.
    pub(super) table: String,
    /// The path of its own counters.
    pub(super) counters: String,
    /// Requests per second.
    pub(super) rate: f64,
    /// The mean work of a request.
    pub(super) work: Duration,
    /// The time before the measurement.
    pub(super) warm_up: Duration,
    /// The time of the measurement.
    pub(super) measured: Duration,
    /// The seed of its gaps, work and picks.
    pub(super) seed: u64,
}

/// What a caller measured. It is a line on its standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct CallerResult {
    /// Latencies of measured requests, in microseconds.
    pub(super) latencies_us: Vec<u32>,
    /// Measured requests without an answer.
    pub(super) unanswered: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = Message { id: 7, work: Duration::from_nanos(123_456_789_012) };
        assert_eq!(Message::read(&message.write()), Some(message));
        assert_eq!(Message::read(&[1, 2, 3]), None);
    }
}
