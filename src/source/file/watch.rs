//! Reports when a path may have changed: by inotify, so that nothing wakes at rest; by looking every
//! two seconds where inotify is refused.
//!
//! Editors and Kubernetes replace files instead of writing to them. So this watches folders, not
//! files: the folder of the path, the one above it (which may be replaced as a whole), and those
//! that symbolic links lead to (a mounted ConfigMap is a link to a link). If the path does not
//! exist, it watches the nearest folder above that does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::load::is_candidate;

/// How long it must be quiet after a change, since a save is several events. Range 10 ms to 1 s.
const QUIET: Duration = Duration::from_millis(50);

/// How long it must be quiet after a write to a file that is still open. Half a file may be valid
/// YAML with half of the endpoints. Range 0.2 s to 10 s.
const QUIET_WRITING: Duration = Duration::from_secs(1);

/// The longest wait after a change, even if more changes follow. Range 1 s to 1 min.
const LATEST: Duration = Duration::from_secs(5);

/// How often to look if inotify is refused. Range 0.5 s to 1 min.
const POLL: Duration = Duration::from_secs(2);

/// Links may change while they are resolved. After this many tries the last result counts.
const FOLLOW_TRIES: usize = 8;

/// Kubernetes replaces this link to replace all files of a volume at once.
const VOLUME_LINK: &str = "..data";

type Start = fn(Handler) -> notify::Result<RecommendedWatcher>;

pub(super) struct Watch {
    path: PathBuf,
    start: Start,
    poll: Duration,
    signal: Arc<Signal>,
    watching: Option<(RecommendedWatcher, Interest)>,
    refused: bool,
}

/// What the watcher's thread passes to the task.
#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    interest: Interest,
    /// A file is still being written.
    writing: bool,
    /// A folder that is watched was moved or removed.
    lost: bool,
}

/// Which events count. All paths are without links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interest {
    watched: BTreeSet<PathBuf>,
    /// The folders that must be watchable.
    needed: BTreeSet<PathBuf>,
    /// The entries of these folders that count.
    entries: BTreeSet<PathBuf>,
    /// The folder of which all manifests count.
    folder: Option<PathBuf>,
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path: std::path::absolute(&path).unwrap_or(path),
            start: |handler| notify::recommended_watcher(handler),
            poll: POLL,
            signal: Arc::default(),
            watching: None,
            refused: false,
        }
    }

    /// Watches what the path leads to now. Called before each read: any change after that ends
    /// [`Self::changed`].
    pub(super) fn aim(&mut self) {
        for _ in 0..FOLLOW_TRIES {
            let interest = Interest::of(&self.path);
            let lost = std::mem::take(&mut self.signal.lock().lost);
            if !lost && self.watching.as_ref().is_some_and(|(_, known)| *known == interest) {
                return;
            }
            let refused = self.watch(interest).err();
            self.tell(refused.as_ref());
            self.refused = refused.is_some();
            if self.refused {
                return;
            }
        }
    }

    fn tell(&self, refused: Option<&notify::Error>) {
        let path = self.path.display();
        match refused {
            Some(error) if !self.refused => tracing::warn!(
                "{path}: cannot watch it for changes ({error}): looking every {} s instead",
                self.poll.as_secs_f32()
            ),
            None if self.refused => tracing::info!("{path}: watching it for changes again"),
            _ => {}
        }
    }

    fn watch(&mut self, interest: Interest) -> notify::Result<()> {
        self.signal.lock().interest = interest.clone();
        // A new watcher each time: a replaced folder has the same name, but needs another watch.
        self.watching = None;
        let mut watcher = (self.start)(Handler(self.signal.clone()))?;
        for folder in &interest.watched {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                // The folder just vanished: the next round sees that.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                // Without the right to list the folders above, changes of the file are still seen.
                Err(_) if !interest.needed.contains(folder) => {}
                watched => watched?,
            }
        }
        self.watching = Some((watcher, interest));
        Ok(())
    }

    /// Completes when the path may have changed and is quiet again.
    pub(super) async fn changed(&self) {
        if self.refused {
            return sleep(self.poll).await;
        }
        self.signal.wake.notified().await;
        let latest = Instant::now() + LATEST;
        loop {
            let quiet = if self.signal.lock().writing { QUIET_WRITING } else { QUIET };
            tokio::select! {
                () = sleep_until(latest.min(Instant::now() + quiet)) => break,
                () = self.signal.wake.notified() => {}
            }
        }
        self.signal.lock().writing = false;
    }
}

impl Signal {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watcher's side of a signal.
struct Handler(Arc<Signal>);

impl notify::EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let mut state = self.0.lock();
        match event {
            Ok(event) if !state.interest.counts(&event) => return,
            Ok(event) => {
                state.writing = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
                state.lost |= event.paths.iter().any(|path| state.interest.watched.contains(path));
            }
            // The queue overflowed and events were lost: anything may have changed.
            Err(_) => state.lost = true,
        }
        drop(state);
        self.0.wake.notify_one();
    }
}

impl Interest {
    fn of(path: &Path) -> Self {
        let mut interest = Self::default();
        // The nearest existing ancestor of the path, and one more above.
        let there = path.ancestors().filter(|it| it.parent().is_some_and(Path::exists));
        for part in there.take(2) {
            interest.add(part);
            if interest.needed.is_empty() {
                interest.needed.clone_from(&interest.watched);
            }
        }
        let Ok(target) = fs::canonicalize(path) else { return interest };
        if !target.is_dir() {
            interest.add(&target);
            if let Some(parent) = path.parent().and_then(|parent| fs::canonicalize(parent).ok()) {
                interest.entries.insert(parent.join(VOLUME_LINK));
            }
            return interest;
        }
        interest.watched.insert(target.clone());
        interest.needed = [target.clone()].into();
        interest.folder = Some(target.clone());
        for entry in fs::read_dir(&target).into_iter().flatten().flatten() {
            let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if linked
                && is_candidate(&entry.path())
                && let Ok(target) = fs::canonicalize(entry.path())
            {
                interest.add(&target);
            }
        }
        interest
    }

    /// Adds an entry of a folder, whether it exists or not.
    fn add(&mut self, entry: &Path) {
        let parent = entry.parent().and_then(|parent| fs::canonicalize(parent).ok());
        if let (Some(parent), Some(name)) = (parent, entry.file_name()) {
            self.entries.insert(parent.join(name));
            self.watched.insert(parent);
        }
    }

    fn counts(&self, event: &Event) -> bool {
        let told = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            // Our own reads cause events too.
            EventKind::Access(_) => false,
            _ => true,
        };
        told && (event.need_rescan() || event.paths.iter().any(|path| self.concerns(path)))
    }

    fn concerns(&self, path: &Path) -> bool {
        let in_folder = self.folder.is_some() && path.parent() == self.folder.as_deref();
        self.entries.contains(path)
            || self.watched.contains(path)
            || in_folder
                && (is_candidate(path) || path.file_name().is_some_and(|it| it == VOLUME_LINK))
    }
}

#[cfg(test)]
mod tests;
