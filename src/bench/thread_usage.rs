//! What the threads of a process had of the processors.

use std::{fs, io, path::Path, time::Duration};

/// What a thread did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadUsage {
    /// Time on a processor.
    pub(super) cpu_time: Duration,
    /// Times on one.
    pub(super) switches: u64,
}

impl ThreadUsage {
    /// Of the thread with this folder below `/proc`.
    pub(super) fn of(thread: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(thread.join("schedstat"))?)
    }

    /// Time on a processor, time waiting for one, times on one.
    fn parse(statistics: &str) -> io::Result<Self> {
        let mut numbers = statistics.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(cpu_time)), Some(Ok(switches))) => {
                Ok(Self { cpu_time: Duration::from_nanos(cpu_time), switches })
            }
            _ => Err(io::Error::other(format!("schedstat says {statistics:?}"))),
        }
    }
}

/// What those threads of a process that are called so had of the processors; none of them: none is
/// called so.
///
/// # Errors
/// There is no such process.
pub fn processor_time(pid: u32, name: &str) -> io::Result<Option<Duration>> {
    let mut sum = None;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let read = |file| fs::read_to_string(thread.join(file));
        // A thread may end meanwhile.
        let (Ok(called), Ok(statistics)) = (read("comm"), read("schedstat")) else { continue };
        if called.trim() == name {
            *sum.get_or_insert(Duration::ZERO) += ThreadUsage::parse(&statistics)?.cpu_time;
        }
    }
    Ok(sum)
}
