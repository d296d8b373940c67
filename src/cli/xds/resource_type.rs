//! The types of resources that the commands ask for.

use xds::resource_type::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::discovery::proto::NAMESPACE;

/// The type of a resource, in the order in which a client comes across it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Type {
    /// The services of a namespace, for agents.
    Namespace,
    /// The name that a gRPC client dials.
    Listener,
    /// The routes of a listener that names them.
    Routes,
    /// How to balance between endpoints.
    Cluster,
    /// The endpoints of a cluster.
    Assignment,
}

impl Type {
    const ALL: [Self; 5] =
        [Self::Namespace, Self::Listener, Self::Routes, Self::Cluster, Self::Assignment];

    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Namespace => NAMESPACE,
            Self::Listener => LISTENER,
            Self::Routes => ROUTES,
            Self::Cluster => CLUSTER,
            Self::Assignment => ASSIGNMENT,
        }
    }

    /// None: the commands ask for no such type.
    pub(super) fn of(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.url() == url)
    }

    /// As a person writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Listener => "listener",
            Self::Routes => "routes",
            Self::Cluster => "cluster",
            Self::Assignment => "assignment",
        }
    }
}
