//! A listener for each pod that has a folder of its own, so that a connection's listener says which pod
//! it is.
//!
//! - [`folder`]: what the plugin makes, and what of it is trusted
//! - `watch`: when a folder comes or goes
//!
//! Whatever is told, all folders are looked at: there are some hundreds at most, and whoever compares what
//! is with what should be has missed nothing, however it came about.

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

/// How often to look where nothing tells of changes: without inotify, or without the folder.
const POLL: Duration = Duration::from_secs(2);

/// The pods' listeners.
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
    /// What is wrong and was said.
    refused: BTreeSet<String>,
}

/// A pod's listener; dropped, it accepts no more.
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
    /// Listens in the folders that there are; those that come need [`PodListeners::follow`].
    #[must_use]
    pub fn start(folder: PathBuf, connections: Arc<Connections>) -> Arc<Self> {
        let folders = PodFolders::at(folder);
        let listeners = Arc::new(Self { folders, connections, state: Mutex::default() });
        listeners.look();
        let pods = listeners.state().served.len();
        info!(folder = %listeners.folders.path().display(), pods, "following pods' folders");
        listeners
    }

    /// Listens in folders as they come, and no more in those that go; for ever.
    pub async fn follow(&self) {
        loop {
            let watch = Watch::on(self.folders.path());
            // After the watch has begun: what comes from now on is told.
            self.look();
            match watch {
                Ok(watch) => {
                    while watch.changed().await == Changed::Entries {
                        self.look();
                    }
                }
                Err(error) => {
                    debug!(%error, "nothing tells of pods' folders: looking again soon");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Touches no folder any more, since another agent is about to listen in them. Connections are
    /// accepted still: whoever has looked a socket up may be on the way.
    pub fn pause(&self) {
        self.state().paused = true;
    }

    /// No other agent listens in the folders after all.
    pub fn resume(&self) {
        self.state().paused = false;
        self.look();
    }

    /// Accepts no more.
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
            // Whoever is served stays so.
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
                // Removed meanwhile, which will be told.
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
