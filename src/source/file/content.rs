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
    /// Wrong, but nothing else is lost by it.
    pub(super) warnings: Vec<Problem>,
    /// Settings that are wrong. The agent tells of them itself, wherever a service comes from.
    pub(super) wrong_settings: Vec<Problem>,
}

/// A Kubernetes object that services are made of.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Service(KubeService),
    Slice(Slice),
}
