//! Where a node is, by its well-known labels.

use std::{collections::BTreeMap, sync::Arc};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

/// Where a node is, as far as its labels say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::kubernetes) struct Place {
    pub(in crate::source::kubernetes) zone: Option<Arc<str>>,
    pub(in crate::source::kubernetes) region: Option<Arc<str>>,
}

impl Place {
    /// The place of a node with these labels.
    pub(in crate::source::kubernetes) fn of(labels: &BTreeMap<String, String>) -> Self {
        let label =
            |name| labels.get(name).filter(|it| !it.is_empty()).map(|it| it.as_str().into());
        Self { zone: label(ZONE), region: label(REGION) }
    }
}
