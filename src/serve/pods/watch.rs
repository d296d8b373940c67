//! Notices when an entry of a folder comes, goes or gets other permissions.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind::Metadata,
};
use tokio::sync::Notify;

pub(super) struct Watch {
    signal: Arc<Signal>,
    _watcher: RecommendedWatcher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Some entries; the kernel may have lost which.
    Entries,
    /// The watched folder itself was removed or renamed.
    Folder,
}

/// The signal from the watcher's thread.
#[derive(Default)]
struct Signal {
    lost: AtomicBool,
    wake: Notify,
}

impl Watch {
    pub(super) fn on(folder: &Path) -> notify::Result<Self> {
        let signal = Arc::<Signal>::default();
        let (sender, watched) = (signal.clone(), folder.to_owned());
        let mut watcher =
            notify::recommended_watcher(move |event| sender.receive(event, &watched))?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { signal, _watcher: watcher })
    }

    /// Completes after a change since the last call, or since the watch began.
    pub(super) async fn changed(&self) -> Changed {
        self.signal.wake.notified().await;
        match self.signal.lost.load(SeqCst) {
            true => Changed::Folder,
            false => Changed::Entries,
        }
    }
}

impl Signal {
    fn receive(&self, event: notify::Result<Event>, watched: &Path) {
        let lost = match event {
            // The agent's own reads.
            Ok(Event { kind: EventKind::Access(_), .. }) => return,
            Ok(Event { kind: EventKind::Modify(Metadata(_)), .. }) => false,
            Ok(event) => event.paths.iter().any(|path| path == watched),
            Err(_) => true,
        };
        self.lost.fetch_or(lost, SeqCst);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use super::*;

    /// Whether no change is signalled for so long that the watcher's thread must have run, even on a
    /// busy machine.
    async fn is_quiet(watch: &Watch) -> bool {
        tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn what_comes_goes_or_changes_its_rights_is_told_and_what_is_in_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::on(folder.path()).unwrap();
        let pod = folder.path().join("pod");
        let steps: [&dyn Fn(); 4] = [
            &|| fs::create_dir(&pod).unwrap(),
            &|| fs::set_permissions(&pod, fs::Permissions::from_mode(0o700)).unwrap(),
            &|| fs::rename(&pod, folder.path().join("other")).unwrap(),
            &|| fs::remove_dir(folder.path().join("other")).unwrap(),
        ];
        for step in steps {
            step();
            assert_eq!(watch.changed().await, Changed::Entries);
            while !is_quiet(&watch).await {}
            if pod.exists() {
                fs::write(pod.join("file"), "").unwrap();
                fs::remove_file(pod.join("file")).unwrap();
                fs::read_dir(folder.path()).unwrap();
                assert!(is_quiet(&watch).await);
            }
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_removed_or_moved_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let watched = folder.path().join("watched");
        let ways: [&dyn Fn(); 2] = [&|| fs::remove_dir(&watched).unwrap(), &|| {
            fs::rename(&watched, folder.path().join("moved")).unwrap()
        }];
        for take_away in ways {
            fs::create_dir(&watched).unwrap();
            let watch = Watch::on(&watched).unwrap();
            take_away();
            assert_eq!(watch.changed().await, Changed::Folder);
        }
    }

    #[test]
    fn events_that_were_lost_are_a_change_whatever_it_was() {
        let signal = Signal::default();
        signal.receive(
            Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)),
            Path::new("/"),
        );
        assert!(
            !signal.lost.load(SeqCst),
            "the folder is the same: it has to be looked at, no more"
        );
        signal.receive(Err(notify::Error::generic("anything")), Path::new("/"));
        assert!(signal.lost.load(SeqCst));
    }
}
