//! How much memory of a process is resident, by the kernel.

use std::{fs, io};

/// The peak resident memory of a process since [`forget_peak`].
pub(super) fn peak_mib(pid: u32) -> io::Result<f64> {
    field(pid, "VmHWM:")
}

/// The current resident memory of a process.
pub(super) fn resident_mib(pid: u32) -> io::Result<f64> {
    field(pid, "VmRSS:")
}

pub(super) fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn field(pid: u32, name: &str) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other(format!("no {name} in {status}")))
}
