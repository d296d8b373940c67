//! Gives up unused tables when the system has no more files or memory for a table that is wanted.

use std::{io, time::Duration};

use rustix::io::Errno;
use tracing::warn;

use super::{
    shared::{Shared, lock},
    target::Target,
};

/// One in this many of the unused tables is given up at a time. To make a table again costs some
/// 100 us and what was learnt of its endpoints' load. Range 1 to 64.
const PART: usize = 8;

/// Whether the system lacks what a table needs: files or memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(error, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

impl Shared {
    /// Gives up some of the tables in which nothing is open, the longest unused first. Returns
    /// whether there were any.
    pub(super) fn lower_priority(&self) -> bool {
        let mut all = lock(&self.live);
        let mut unused: Vec<(Duration, Target)> = (all.values())
            .filter_map(|live| {
                let publisher = live.publisher();
                publisher.is_quiet().then(|| (publisher.moved_at(), live.target().clone()))
            })
            .collect();
        unused.sort_unstable_by_key(|(moved_at, _)| *moved_at);
        let part = unused.len().div_ceil(PART);
        warn!(
            tables = all.len(),
            given_up = part,
            "no more files or memory: unused tables give way"
        );
        for (_, target) in unused.iter().take(part) {
            self.give_up(&mut all, target);
        }
        part > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_files_or_memory_is_a_shortage_and_no_other_error_is() {
        let is = |errno: Errno| is_shortage(&errno.into());
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::NOMEM));
        assert!(!is(Errno::PERM) && !is_shortage(&io::Error::other("another")));
    }
}
