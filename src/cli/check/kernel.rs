//! Checks what an agent needs from this system.

use std::fs;

use pointsman_table::{Capacity, TableWriter, wake};
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;

/// Each connection and each table takes some.
const FILES: u64 = 4096;
/// Clock sources that need no system call. A pick's latency is measured with them.
const QUICK_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"];

pub(super) fn check() -> Vec<Finding> {
    let clock =
        fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    vec![
        shared_memory(),
        barrier(),
        files(getrlimit(Resource::Nofile).maximum),
        quick_clock(clock.as_deref().unwrap_or("unknown").trim()),
    ]
}

/// Seals keep callers from writing into a table. They need Linux 5.1.
fn shared_memory() -> Finding {
    let made = TableWriter::create(Capacity::for_endpoints(1), "check")
        .and_then(|writer| writer.reader_fd());
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    match made {
        Ok(_) => Finding::good("shared memory", format!("sealed memfds, Linux {kernel}")),
        Err(error) => Finding::wrong(
            "shared memory",
            format!("no sealed memfds on Linux {kernel}: {error}"),
            "run the agent on Linux 5.1 or later, with a seccomp profile that allows memfd_create",
        ),
    }
}

fn barrier() -> Finding {
    match wake::probe_barrier(wake::Reach::ThisProcess) {
        Ok(()) => Finding::good("sleep", "membarrier: an idle agent sleeps"),
        Err(error) => Finding::doubtful(
            "sleep",
            format!("an idle agent wakes ten times a second: {error}"),
            "use a seccomp profile that allows membarrier",
        ),
    }
}

fn files(most: Option<u64>) -> Finding {
    match most {
        Some(most) if most < FILES => Finding::doubtful(
            "open files",
            format!("a process may have {most}"),
            format!("start the agent with a limit of {FILES} or more (LimitNOFILE=)"),
        ),
        Some(most) => Finding::good("open files", format!("a process may have {most}")),
        None => Finding::good("open files", "without a limit"),
    }
}

fn quick_clock(name: &str) -> Finding {
    if QUICK_CLOCKS.contains(&name) {
        return Finding::good("clock source", name);
    }
    Finding::doubtful(
        "clock source",
        name,
        "each reading costs a system call of about a microsecond: find out why the kernel does not \
         use tsc",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::finding::Verdict;

    #[test]
    fn what_is_short_or_slow_is_doubtful() {
        assert_eq!(files(Some(1024)).verdict, Verdict::Doubtful);
        assert_eq!(files(Some(FILES)).verdict, Verdict::Good);
        assert_eq!(files(None).verdict, Verdict::Good);
        assert_eq!(quick_clock("hpet").verdict, Verdict::Doubtful);
        assert_eq!(quick_clock("tsc").verdict, Verdict::Good);
    }
}
