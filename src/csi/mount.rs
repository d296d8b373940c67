//! A folder, read-only, at a path of a pod.

use std::{fs, io, path::Path};

use rustix::{
    fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx},
    mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount},
};

/// What a socket needs none of. Read-only: a pod that could rename files in the folder could put
/// a socket of its own where every other pod of the node looks for the agent's.
const FLAGS: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts `folder` at `target`, which is made. Done before, it is done.
pub(super) fn mount(folder: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    if is_mounted(target)? {
        return Ok(());
    }
    mount_bind(folder, target)?;
    // The kernel takes no flags with the bind itself.
    mount_remount(target, MountFlags::BIND | FLAGS, "").map_err(|error| {
        // Writable it must not stay; if this fails as well, the first error says more.
        unmount(target, UnmountFlags::NOFOLLOW).ok();
        error.into()
    })
}

/// Takes what is mounted at `target` away, and the path with it. Done before, it is done.
pub(super) fn take_away(target: &Path) -> io::Result<()> {
    if !target.try_exists()? {
        return Ok(());
    }
    while is_mounted(target)? {
        unmount(target, UnmountFlags::NOFOLLOW)?;
    }
    // Empty, or not ours to remove.
    fs::remove_dir(target)
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    let seen = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
