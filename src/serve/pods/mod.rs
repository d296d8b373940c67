//! A listener for each pod that has its own folder. The listener of a connection identifies the pod.
//!
//! - [`folder`]: the folders that the CSI plugin makes, and when they are trusted
//! - `watch`: notices when a folder comes or goes
//!
//! Each change has all folders compared with the listeners. There are some hundreds at most, and a full
//! comparison misses nothing, whatever the cause of the change was.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::UnixListener, task::JoinHandle};
use tracing::{debug, info, warn};

use self::{
    folder::{FolderError, PodFolders},
    watch::{Changed, Watch},
};
use super::connection::accept::Connections;
use crate::{
    identity::PodUid,
    socket::listener::{self, Inode},
};

pub mod folder;
mod watch;

/// How often to look without notifications: without inotify, or without the folder.
const POLL: Duration = Duration::from_secs(2);

pub struct PodListeners {
    folders: PodFolders,
    connections: Arc<Connections>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Another agent listens in the folders, or is about to.
    paused: bool,
    served: HashMap<PodUid, PodListener>,
    /// The problems that the log has.
    refused: BTreeSet<String>,
}

/// A pod's listener. It stops accepting when it is dropped.
struct PodListener {
    socket: Inode,
    accepting: JoinHandle<()>,
}

impl Drop for PodListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl PodListeners {
    /// Listens in the folders that exist. [`PodListeners::follow`] adds those that come later.
    #[must_use]
    pub fn start(folder: PathBuf, connections: Arc<Connections>) -> Arc<Self> {
        let folders = PodFolders::at(folder);
        let listeners = Arc::new(Self { folders, connections, state: Mutex::default() });
        listeners.look();
        let pods = listeners.state().served.len();
        info!(folder = %listeners.folders.path().display(), pods, "watching pods' folders");
        listeners
    }

    /// Adds and removes listeners as folders come and go. Never returns.
    pub async fn follow(&self) {
        loop {
            let watch = Watch::on(self.folders.path());
            // After the watch has begun, so that no change is missed.
            self.look();
            match watch {
                Ok(watch) => {
                    while watch.changed().await == Changed::Entries {
                        self.look();
                    }
                }
                Err(error) => {
                    debug!(%error, "cannot watch pods' folders: looking again soon");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Stops changing folders, since another agent is about to listen in them. The listeners still accept:
    /// a caller may have looked a socket up just before.
    pub fn pause(&self) {
        self.state().paused = true;
    }

    /// Resumes, since no other agent listens in the folders after all.
    pub fn resume(&self) {
        self.state().paused = false;
        self.look();
    }

    pub fn end(&self) {
        let mut state = self.state();
        state.paused = true;
        state.served.clear();
    }

    fn look(&self) {
        let mut state = self.state();
        if state.paused {
            return;
        }
        let listed = self.folders.prepare().and_then(|()| self.folders.list());
        let mut refusals = Vec::new();
        match listed {
            Ok((uids, others)) => {
                refusals = others;
                self.compare(&mut state.served, &uids, &mut refusals);
            }
            // The listeners so far stay.
            Err(refusal) => refusals.push(refusal),
        }
        let refused: BTreeSet<_> = refusals.iter().map(FolderError::to_string).collect();
        for why in refused.difference(&state.refused) {
            warn!("a pod's folder is not served: {why}");
        }
        state.refused = refused;
        let metrics = self.connections.agent().metrics();
        metrics.pods(state.served.len(), state.refused.len());
    }

    fn compare(
        &self,
        served: &mut HashMap<PodUid, PodListener>,
        there: &[PodUid],
        refusals: &mut Vec<FolderError>,
    ) {
        let pods = self.connections.agent().pods();
        let all: HashSet<_> = there.iter().copied().collect();
        served.retain(|uid, _| {
            let stays = all.contains(uid);
            if !stays {
                pods.gone(*uid);
                debug!(pod = %uid, "its folder is gone");
            }
            stays
        });
        for uid in there {
            let socket = self.folders.socket(*uid);
            if served.get(uid).is_some_and(|served| listener::is_at(&socket, &served.socket)) {
                continue;
            }
            served.remove(uid);
            match self.listen(*uid) {
                Ok(one) => drop(served.insert(*uid, one)),
                // Removed meanwhile; the watch will notice.
                Err(_) if !self.folders.has(*uid) => {}
                Err(refusal) => refusals.push(refusal),
            }
        }
    }

    fn listen(&self, uid: PodUid) -> Result<PodListener, FolderError> {
        let pod = self.folders.read(uid)?;
        debug!(%uid, "listening for {pod}");
        self.connections.agent().pods().learn(uid, pod);
        let path = self.folders.socket(uid);
        let bound = listener::bind_for_pod(&path)?;
        let failed = |error| FolderError::Io { path: path.clone(), error };
        let socket = Inode::of(&path).map_err(failed)?;
        let listener = UnixListener::from_std(bound).map_err(failed)?;
        let connections = self.connections.clone();
        let accepting = tokio::spawn(async move { connections.accept_pod(&listener, uid).await });
        Ok(PodListener { socket, accepting })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PodListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodListeners").field("folders", &self.folders).finish_non_exhaustive()
    }
}
