//! A resource that the source knows, by its type and name.

use std::sync::Arc;

use ::xds::{
    Name,
    resource_type::{ASSIGNMENT, CLUSTER},
    server::limits::beginning,
};

use crate::discovery::proto::NAMESPACE;

/// The longest part of a resource's name that is shown, in bytes.
const LONGEST_SHOWN: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespace,
    Cluster,
    Assignment,
}

pub(super) type Resource = (Kind, Name);

impl Kind {
    pub(super) fn type_url(self) -> &'static str {
        match self {
            Self::Namespace => NAMESPACE,
            Self::Cluster => CLUSTER,
            Self::Assignment => ASSIGNMENT,
        }
    }

    /// None: the client asks for no such type.
    pub(super) fn of(type_url: &str) -> Option<Self> {
        let all = [Self::Namespace, Self::Cluster, Self::Assignment];
        all.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// A resource as a person knows it.
    pub(super) fn shown(self, name: &str) -> Arc<str> {
        let kind = match self {
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
            Self::Assignment => "assignment",
        };
        // The server chooses it, and a log line has it.
        format!("{kind} \"{}\"", beginning(name, LONGEST_SHOWN)).into()
    }
}
