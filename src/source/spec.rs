//! A source as the command line and the configuration name it.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{kubernetes::Cluster, xds::Server};
use crate::suggest::{did_you_mean, similar};

/// A source as a person names it: `file:/etc/pointsman/services.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// A services file, or a folder of such files and Kubernetes manifests.
    File(PathBuf),
    /// A Kubernetes cluster.
    Kubernetes(Cluster),
    /// A control plane.
    Xds(Server),
}

/// The agent's own cluster, to which it writes: that of the first source with one.
pub fn own_cluster(sources: &[Spec]) -> Option<&Cluster> {
    sources.iter().find_map(|source| match source {
        Spec::Kubernetes(cluster) => Some(cluster),
        Spec::File(_) | Spec::Xds(_) => None,
    })
}

/// Why a text is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{asked}\" is not a source{hint}: write file:PATH, such as \
     file:/etc/pointsman/services.yaml, or kubernetes, or xds:ADDRESS"
)]
pub struct SpecError {
    asked: String,
    hint: String,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |hint| SpecError { asked: text.to_owned(), hint };
        match text.split_once(':').unwrap_or((text, "")) {
            ("file", path) if !path.is_empty() => Ok(Self::File(path.into())),
            ("kubernetes", options) => match options.parse() {
                Ok(cluster) => Ok(Self::Kubernetes(cluster)),
                Err(what) => Err(wrong(format!(" ({what})"))),
            },
            ("xds", server) => match server.parse() {
                Ok(server) => Ok(Self::Xds(server)),
                Err(what) => Err(wrong(format!(" ({what})"))),
            },
            (kind, _) => Err(wrong(did_you_mean(&similar(kind, ["file", "kubernetes", "xds"])))),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Kubernetes(cluster) => cluster.fmt(f),
            Self::Xds(server) => server.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cluster_is_that_of_the_first_source_that_is_one() {
        let specs = |texts: &[&str]| -> Vec<Spec> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let several = specs(&["file:a.yaml", "kubernetes:context=a", "kubernetes:context=b"]);
        assert_eq!(own_cluster(&several).unwrap().to_string(), "kubernetes:context=a");
        assert_eq!(own_cluster(&specs(&["file:a.yaml"])), None);
    }
}
