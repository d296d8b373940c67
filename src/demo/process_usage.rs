//! The processor time and memory of an agent, and the processor time of the machine, from `/proc`.

use std::fs;

/// The processor time of all processors since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessorTicks {
    busy: u64,
    all: u64,
}

impl ProcessorTicks {
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> =
            line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal. The later fields are part of user.
        let all = ticks.iter().take(8).sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { busy: all - idle, all })
    }

    /// The share of the processor time since `then` in which a processor was busy.
    pub(crate) fn busy_since(self, then: Self) -> f64 {
        let all = self.all.saturating_sub(then.all).max(1);
        self.busy.saturating_sub(then.busy) as f64 / all as f64
    }
}

/// The processor seconds that a process has used, in user and kernel mode.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_waiting_for_a_disk_is_idle_and_a_guest_is_not_counted_twice() {
        let machine = |text| ProcessorTicks::parse(text).unwrap();
        let then = machine("cpu  10 0 10 60 20 0 0 0 5 0\ncpu0 1 2 3 4");
        let now = machine("cpu  40 5 20 160 40 5 5 5 25 0\ncpu0 1 2 3 4");
        assert_eq!(now.busy_since(then), 60.0 / 180.0);
        assert_eq!(now.busy_since(now), 0.0);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(resident_mib(pid).unwrap() > 0.5);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert_eq!(cpu_seconds(0), None);
    }
}
