//! Log lines that callers can cause without end: one a second is written.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Says when a line of one kind may be written.
#[derive(Debug, Default)]
pub struct LogLimit {
    /// The second of the last line, counted from one: zero is none yet.
    last: AtomicU64,
}

impl LogLimit {
    /// Whether a line may be written now: none was in this second.
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
