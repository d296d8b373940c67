//! A control group with the memory limit of the DaemonSet, with cgroup v2 or v1.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// The file that sets the limit.
const DAEMONSET: &str = include_str!("../../../daemonset/daemonset.yaml");
const ROOT: &str = "/sys/fs/cgroup";

/// A control group. Drop removes it.
pub(super) struct Cgroup {
    path: PathBuf,
    limit: u64,
    kills: &'static str,
}

impl Cgroup {
    pub(super) fn make() -> io::Result<Self> {
        let limit = limit().ok_or_else(|| io::Error::other("daemonset.yaml has no limit"))?;
        let is_v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let (above, most, kills) = match is_v2 {
            true => (PathBuf::from(ROOT), "memory.max", "memory.events"),
            false => {
                (Path::new(ROOT).join("memory"), "memory.limit_in_bytes", "memory.oom_control")
            }
        };
        if is_v2 {
            fs::write(above.join("cgroup.subtree_control"), "+memory")?;
        }
        let path = above.join(format!("pointsman-isolation-{}", process::id()));
        fs::create_dir(&path)?;
        let group = Self { path, limit, kills };
        fs::write(group.path.join(most), limit.to_string())?;
        Ok(group)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// How many of its processes the kernel has killed.
    pub(super) fn kills(&self) -> io::Result<u64> {
        let said = fs::read_to_string(self.path.join(self.kills))?;
        let kills = said.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills
            .and_then(|kills| kills.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("{}: {said}", self.kills)))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes have ended. If the removal fails, an empty group costs nothing.
        fs::remove_dir(&self.path).ok();
    }
}

/// The agent's memory limit, in bytes.
fn limit() -> Option<u64> {
    let limit = DAEMONSET.split("limits: {memory: ").nth(1)?.split("Mi}").next()?;
    Some(limit.parse::<u64>().ok()? << 20)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_read_from_the_daemonset() {
        let limit = super::limit().unwrap();
        assert!((64 << 20..=1 << 30).contains(&limit), "{limit}");
    }
}
