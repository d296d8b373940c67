//! Limits log lines that callers can cause without end to one a second.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Limits the lines of one kind.
#[derive(Debug, Default)]
pub struct LogLimit {
    /// The second of the last line, plus one; 0: no line yet.
    last: AtomicU64,
}

impl LogLimit {
    /// Whether a line may be written now: the first one in this second.
    pub fn due(&self, now: Duration) -> bool {
        let second = now.as_secs() + 1;
        self.last.swap(second, Relaxed) != second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_is_due() {
        let limit = LogLimit::default();
        let due = |millis| limit.due(Duration::from_millis(millis));
        assert_eq!([0, 1, 999, 1000, 1999, 5000].map(due), [true, false, false, true, false, true]);
    }
}
