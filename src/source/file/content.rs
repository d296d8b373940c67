//! What one file says.

use crate::{
    catalog::Service,
    source::{
        manifests::{endpoint_slice::Slice, service::KubeService},
        problem::{Place, Problem},
    },
};

/// What one file says, each with where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) services: Vec<(Service, Place)>,
    pub(super) objects: Vec<(Object, Place)>,
    /// Problems that cost nothing else.
    pub(super) warnings: Vec<Problem>,
    /// Invalid settings. The agent reports these itself, for every source.
    pub(super) wrong_settings: Vec<Problem>,
}

/// A Kubernetes object that services are made of.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Service(KubeService),
    Slice(Slice),
}
