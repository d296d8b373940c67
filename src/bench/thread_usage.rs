//! The processor time of a process's threads, from `/proc`.

use std::{fs, io, path::Path, time::Duration};

/// What a thread has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadUsage {
    /// The time on a processor.
    pub(super) cpu_time: Duration,
    /// How often it got a processor.
    pub(super) switches: u64,
}

impl ThreadUsage {
    /// Reads it for the thread with this folder below `/proc`.
    pub(super) fn of(thread: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(thread.join("schedstat"))?)
    }

    /// `schedstat` has the time on a processor, the time waiting for one, and how often it got one.
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

/// The processor time of the threads of a process that have this name. `None` if no thread has it.
///
/// # Errors
/// There is no such process.
pub fn processor_time(pid: u32, name: &str) -> io::Result<Option<Duration>> {
    let mut sum = None;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let read = |file| fs::read_to_string(thread.join(file));
        // The thread may have ended.
        let (Ok(called), Ok(statistics)) = (read("comm"), read("schedstat")) else { continue };
        if called.trim() == name {
            *sum.get_or_insert(Duration::ZERO) += ThreadUsage::parse(&statistics)?.cpu_time;
        }
    }
    Ok(sum)
}
