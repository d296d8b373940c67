//! A services file, or a folder of such files and of Kubernetes manifests. It is read again
//! whenever it changes.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{Problem, Status, problem::log_changes};
use crate::{
    catalog::{Catalog, Change, SourceId},
    clock,
};

mod content;
mod load;
mod parse;
mod services;
mod watch;

#[cfg(test)]
mod tests;

/// The JSON Schema of a services file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(services::ServicesFile).to_value()
}

/// Keeps the catalog up to date with a path, forever.
pub(super) async fn run(path: PathBuf, source: SourceId, catalog: Arc<Catalog>, status: Status) {
    let file = path.display().to_string().into();
    let mut watch = watch::Watch::new(path.clone());
    let mut loader = load::Loader::new(path);
    let mut logged = BTreeSet::new();
    loop {
        let (of_look, status_of_look) = (catalog.clone(), status.clone());
        // Reading may take a while, and other tasks share this thread.
        let look = tokio::task::spawn_blocking(move || {
            watch.aim();
            let problems = look(&mut loader, source, &of_look, &status_of_look);
            (watch, loader, problems)
        });
        let Ok((same_watch, same_loader, problems)) = look.await else {
            let what = "a bug of the agent ended the reading of it; the last good state stays in \
                        force, and changes are no longer read: restart the agent and report this";
            let problem = Problem::of_file(&file, what);
            tracing::error!("{problem}");
            return status.read(false, vec![problem]);
        };
        (watch, loader) = (same_watch, same_loader);
        logged = log_changes(logged, problems);
        tokio::select! {
            () = watch.changed() => {}
            () = status.told_to_look() => {}
        }
    }
}

/// Reads the path and updates the catalog. Returns the problems to log here; the agent itself
/// reports invalid settings, for every source.
fn look(
    loader: &mut load::Loader,
    source: SourceId,
    catalog: &Catalog,
    status: &Status,
) -> Vec<Problem> {
    let loaded = loader.load(|service| catalog.share(service));
    if let Some(services) = loaded.services {
        catalog.apply(source, Change::Replace(services), clock::now());
    }
    if loaded.complete && !status.synced() {
        catalog.apply(source, Change::Synced, clock::now());
    }
    let mut all = loaded.wrong_settings;
    all.extend_from_slice(&loaded.problems);
    all.sort();
    status.read(loaded.complete, all);
    loaded.problems
}
