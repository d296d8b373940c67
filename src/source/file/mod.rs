//! A services file, or a folder of such files and of Kubernetes manifests.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Status, document, problem::Problem};
use crate::{
    catalog::{Catalog, Change, Service, SourceId},
    clock,
};

mod services;

/// The JSON Schema of a services file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(services::ServicesFile).to_value()
}

pub(super) async fn run(path: PathBuf, source: SourceId, catalog: &Catalog, status: &Status) {
    match load_file(&path) {
        Ok(services) => {
            catalog.apply(source, Change::Replace(services), clock::now());
            catalog.apply(source, Change::Synced, clock::now());
            status.read(true, Vec::new());
        }
        Err(problem) => status.read(false, vec![problem]),
    }
    std::future::pending::<()>().await;
}

fn load_file(path: &Path) -> Result<Vec<Service>, Problem> {
    let file: Arc<str> = path.display().to_string().into();
    let bytes = std::fs::read(path).map_err(|error| Problem::of_file(&file, error))?;
    let text = document::text(&file, &bytes)?;
    services::services(&file, document::read(&file, text)?)
}
