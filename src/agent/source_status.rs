//! The status of a source, for the admin pages.

use crate::{
    serve::admin,
    source::{Spec, Status},
};

/// A source with its status.
pub(super) struct SourceStatus {
    pub(super) spec: Spec,
    pub(super) status: Status,
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
