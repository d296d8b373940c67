//! The processor time of a process and of its threads, from `/proc`.

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

/// The processor time of a process, with that of threads that have ended. It counts in ticks of 10 ms.
///
/// # Errors
/// There is no such process.
pub fn process_time(pid: u32) -> io::Result<Duration> {
    let statistics = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks =
        ticks(&statistics).ok_or_else(|| io::Error::other(format!("stat says {statistics:?}")))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// User and system time. The name before them is in parentheses and may have spaces.
fn ticks(statistics: &str) -> Option<u64> {
    let (_, after_name) = statistics.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 1200 34 0 0 20 0 4 0 5000 1 2";
        assert_eq!(ticks(stat), Some(1234));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
