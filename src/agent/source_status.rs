//! The status of a source, for the admin pages.

use std::sync::Arc;

use crate::{
    serve::admin,
    source::{Spec, Status},
};

/// A source with its status.
struct SourceStatus {
    spec: Spec,
    status: Status,
}

/// These sources, as the admin pages show them.
pub(crate) fn shown(sources: &[(Spec, Status)]) -> Vec<Arc<dyn admin::Source>> {
    let shown = |(spec, status): &(Spec, Status)| -> Arc<dyn admin::Source> {
        Arc::new(SourceStatus { spec: spec.clone(), status: status.clone() })
    };
    sources.iter().map(shown).collect()
}

impl admin::Source for SourceStatus {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn synced(&self) -> bool {
        self.status.synced()
    }

    fn problems(&self) -> Vec<String> {
        self.status.problems().iter().map(ToString::to_string).collect()
    }
}
