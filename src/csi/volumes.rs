//! What a pod's volume is: a folder of that pod's own, mounted wherever the pod has the volume.
//!
//! What is mounted is all that has to be remembered: a pod's folder goes when no mount of it is left.
//! So each call finds what any other left, wherever that died, and the kubelet repeats what did not end.

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
    serve::pods::folder::{Folders, Refusal, mounted},
};

/// All volumes of this node.
pub(super) struct Volumes {
    folders: Folders,
}

/// Why a volume could not be had, or not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod's folder.
    #[error(transparent)]
    Folder(#[from] Refusal),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] io::Error),
}

impl Volumes {
    /// Those in this folder, without those of pods that went while no plugin ran.
    pub(super) fn prepare(folder: PathBuf) -> Result<Self, Error> {
        let folders = Folders::at(folder);
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

    /// Takes away what is mounted at `target`, and the folder of a pod that has no other volume.
    /// Idempotent.
    pub(super) fn unmount(&self, target: &Path) -> Result<(), Error> {
        let _turn = turn(self.folders.path())?;
        mount::unmount(target)?;
        // The pod is free of it; what could not be removed is, with the next volume that is taken away.
        if let Err(error) = self.sweep() {
            warn!("folders of pods that are gone are left: {error}");
        }
        Ok(())
    }

    /// Removes the folders that no pod has mounted.
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

/// One call at a time, of whichever process: two plugins overlap for a moment where a node's is replaced
/// by force, and one would sweep away the folder that the other is about to mount.
fn turn(folders: &Path) -> io::Result<File> {
    let folder = File::open(folders)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}
