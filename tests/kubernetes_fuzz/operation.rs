//! The steps of a sequence: changes of the cluster and of the agents.
//!
//! A step that the API server refuses changes nothing, such as a patch of an object that does not
//! exist. So any part of a sequence can be left out, and the rest is still valid.

use std::fmt;

use serde_json::Value;

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Create(Kind, String, Value),
    /// Changes an object by a JSON merge patch.
    Patch(Kind, String, Value),
    Delete(Kind, String),
    /// kill -9 for the agent with this number.
    Kill(usize),
    Start(usize),
    /// Ends its connections to the API server, and any new ones at once.
    Cut(usize),
    Mend(usize),
    /// Restarts the API server, which forgets the changes that it remembered for watches.
    Restart,
    /// Starts agents that are down and repairs interrupted connections. When nothing changes any more,
    /// asks each agent.
    Check,
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Service,
    EndpointSlice,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::EndpointSlice => "endpointslice",
        }
    }

    /// The API path of this kind in a namespace.
    pub fn path(self, namespace: &str) -> String {
        match self {
            Self::Service => format!("/api/v1/namespaces/{namespace}/services"),
            Self::EndpointSlice => {
                format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
            }
        }
    }
}

/// As a person would type it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(_, _, object) => write!(f, "kubectl create -f - <<<'{object}'"),
            Self::Patch(kind, name, patch) => match (annotation(patch), kind) {
                (Some((key, Value::String(value))), Kind::Service) => {
                    write!(f, "kubectl annotate service {name} --overwrite {key}={value}")
                }
                (Some((key, _)), Kind::Service) => {
                    write!(f, "kubectl annotate service {name} {key}-")
                }
                _ => write!(f, "kubectl patch {} {name} --type merge -p '{patch}'", kind.word()),
            },
            Self::Delete(kind, name) => write!(f, "kubectl delete {} {name}", kind.word()),
            Self::Kill(agent) => write!(f, "# kill -9 agent {agent}"),
            Self::Start(agent) => write!(f, "# start agent {agent}"),
            Self::Cut(agent) => write!(f, "# cut agent {agent} off from the API server"),
            Self::Mend(agent) => write!(f, "# let agent {agent} reach the API server again"),
            Self::Restart => write!(f, "# restart the API server"),
            Self::Check => write!(f, "# wait until it is quiet, and ask"),
        }
    }
}

/// The annotation that a patch sets, if it does nothing else.
fn annotation(patch: &Value) -> Option<(&String, &Value)> {
    let annotations = patch["metadata"]["annotations"].as_object()?;
    let alone = patch.as_object()?.len() == 1 && annotations.len() == 1;
    annotations.iter().next().filter(|_| alone)
}
