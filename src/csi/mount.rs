//! Mounts a pod's folder read-only at a path of that pod.
//!
//! The kernel takes no flags with a bind mount; a new mount inherits those of the mount it comes
//! from. So pods' mounts come from a read-only mount of all folders. Then a pod can write at no
//! moment, even if this process dies halfway.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, statvfs, statx},
    mount::{MountFlags, UnmountFlags, mount_bind, mount_remount},
};

use crate::{identity::PodUid, socket::listener::Inode};

/// A socket needs none of these rights. The mount is read-only, so that a pod can't replace the
/// agent's socket with one of its own, for its other containers to find.
const FLAGS: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// The same flags as `statvfs` reports them.
const HAS: StatVfsMountFlags = StatVfsMountFlags::RDONLY
    .union(StatVfsMountFlags::NOSUID)
    .union(StatVfsMountFlags::NODEV)
    .union(StatVfsMountFlags::NOEXEC);

/// The read-only mount of all folders, within their folder. In a container it ends with the
/// container, and is invisible outside.
const READ_ONLY: &str = ".read-only";

/// The read-only mount from which pods' mounts are made.
pub(super) struct ReadOnlyMount(PathBuf);

impl ReadOnlyMount {
    /// Makes the mount; called before each mount of a pod, since it may be gone. Idempotent.
    pub(super) fn prepare(folders: &Path) -> io::Result<Self> {
        let at = folders.join(READ_ONLY);
        fs::create_dir_all(&at)?;
        if !is_mounted(&at)? {
            mount_bind(folders, &at)?;
        }
        let read_only = Self(at);
        read_only.harden(folders, &read_only.0)?;
        Ok(read_only)
    }

    /// Mounts a pod's folder at `target`, which it creates. Idempotent.
    pub(super) fn mount(&self, folder: &Path, target: &Path) -> io::Result<()> {
        let folder = self.0.join(folder);
        fs::create_dir_all(target)?;
        if !is_mounted(target)? {
            mount_bind(&folder, target)?;
        }
        self.harden(&folder, target)
    }

    /// Ensures that `folder` is mounted at `target`, and read-only.
    fn harden(&self, folder: &Path, target: &Path) -> io::Result<()> {
        if Inode::of(folder)? != Inode::of(target)? {
            return Err(io::Error::other("something else is mounted there: unmount it"));
        }
        if !statvfs(target)?.f_flag.contains(HAS) {
            mount_remount(target, MountFlags::BIND | FLAGS, "")?;
        }
        Ok(())
    }
}

/// Unmounts `target` and removes its folder. Idempotent.
pub(super) fn unmount(target: &Path) -> io::Result<()> {
    if !target.try_exists()? {
        return Ok(());
    }
    while is_mounted(target)? {
        rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)?;
    }
    // Fails if it is not empty: then it is not ours.
    fs::remove_dir(target)
}

/// The pods whose folder is mounted somewhere.
pub(super) fn mounted() -> io::Result<HashSet<PodUid>> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    Ok(pods_in(&String::from_utf8_lossy(&mounts)))
}

/// The fourth field of each line is the mount's root in its file system: `…/UID/socket`.
fn pods_in(mounts: &str) -> HashSet<PodUid> {
    let roots = mounts.lines().filter_map(|line| line.split(' ').nth(3));
    let folders = roots.filter_map(|root| root.strip_suffix("/socket"));
    folders.filter_map(|folder| PodUid::parse(folder.rsplit('/').next()?)).collect()
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    let seen = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_that_have_a_volume_are_known_by_what_is_mounted() {
        let mounts = "\
22 1 0:5 / /run rw - tmpfs tmpfs rw
40 22 0:5 /pointsman-pods /run/pointsman-pods rw - tmpfs tmpfs rw
41 22 0:5 /pointsman-pods/1b4e28ba-2fa1-11d2-883f-0016d3cca427/socket /k/pods/a/mount ro - tmpfs tmpfs rw
42 22 0:5 /pointsman-pods/1b4e28ba-2fa1-11d2-883f-0016d3cca427/socket /k/pods/b/mount ro - tmpfs tmpfs rw
43 22 0:5 /pods/2b4e28ba-2fa1-11d2-883f-0016d3cca427/socket//deleted /k/pods/c/mount ro - tmpfs tmpfs rw
44 22 0:5 /docker/socket /var/socket rw - tmpfs tmpfs rw
";
        let pod = PodUid::parse("1b4e28ba-2fa1-11d2-883f-0016d3cca427").unwrap();
        assert_eq!(pods_in(mounts), HashSet::from([pod]));
    }
}
