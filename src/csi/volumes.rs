//! A pod's volume is a folder of that pod, mounted wherever the pod has the volume.
//!
//! The mounts themselves are the only record: a pod's folder is removed when no mount of it is
//! left. So each call finds what another one left behind, wherever that one died, and the kubelet
//! repeats calls that did not finish.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tracing::{info, warn};

use super::mount::{self, ReadOnlyMount};
use crate::{
    identity::{Pod, PodUid},
    serve::pods::folder::{FolderError, PodFolders, mounted},
};

/// All volumes of this node.
pub(super) struct Volumes {
    folders: PodFolders,
}

/// Why a volume could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod's folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] io::Error),
}

impl Volumes {
    /// The volumes of a folder. Removes those of pods that went while no plugin ran.
    pub(super) fn prepare(folder: PathBuf) -> Result<Self, Error> {
        let folders = PodFolders::at(folder);
        folders.prepare()?;
        let _turn = turn(folders.path())?;
        let volumes = Self { folders };
        volumes.sweep()?;
        Ok(volumes)
    }

    /// Mounts this pod's folder at `target`. Idempotent.
    pub(super) fn mount(&self, uid: PodUid, pod: &Pod, target: &Path) -> Result<(), Error> {
        let _turn = turn(self.folders.path())?;
        self.folders.make(uid, pod)?;
        Ok(ReadOnlyMount::prepare(self.folders.path())?.mount(&mounted(uid), target)?)
    }

    /// Unmounts `target`, and removes the folders of pods without another volume. Idempotent.
    pub(super) fn unmount(&self, target: &Path) -> Result<(), Error> {
        let _turn = turn(self.folders.path())?;
        mount::unmount(target)?;
        // The unmount itself succeeded. The next one retries what could not be removed.
        if let Err(error) = self.sweep() {
            warn!("folders of pods that are gone could not be removed: {error}");
        }
        Ok(())
    }

    /// Removes folders without a mount.
    fn sweep(&self) -> Result<(), Error> {
        self.folders.tidy()?;
        let mounted = mount::mounted()?;
        let (pods, _) = self.folders.list()?;
        for uid in pods.into_iter().filter(|uid| !mounted.contains(uid)) {
            self.folders.remove(uid)?;
            info!(%uid, "removed the folder of a pod without a volume");
        }
        Ok(())
    }
}

/// A lock, so that one call runs at a time, in all processes. Two plugins overlap for a moment if
/// one replaces the other by force, and one would remove the folder that the other is about to
/// mount.
fn turn(folders: &Path) -> io::Result<File> {
    let folder = File::open(folders)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}
