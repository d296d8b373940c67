//! Where an agent runs. Callers on its node run there, too.

use std::sync::Arc;

/// Where an agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Such as `eu-west-1a`.
    pub zone: Option<Arc<str>>,
    /// Such as `eu-west-1`.
    pub region: Option<Arc<str>>,
    /// The node's name.
    pub node: Option<Arc<str>>,
}
